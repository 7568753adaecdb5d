from argparse import ArgumentParser
from typing import Any

import msgspec

from chatgateway.dashboard.status import make_status
from chatgateway.dashboard.terminal import lines
from chatgateway.management.command import DatabaseCommand


class Command(DatabaseCommand):
    help = "Show who is connected, what is going on and which workers live, as the admin's dashboard does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="As one JSON object.")

    def handle(self, *_args: Any, **options: Any) -> None:
        status = make_status()
        if options["json"]:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(status)).decode())
        else:
            self.stdout.write("\n".join(lines(status)))
