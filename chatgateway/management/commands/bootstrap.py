"""`manage.py bootstrap`: the default pipeline, its documents and the first superuser."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from chatgateway.management.command import DatabaseCommand
from chatgateway.setup import address, bootstrap, first_steps


class Command(DatabaseCommand):
    help = "Make what the gateway needs to answer; does nothing twice."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--print-password", action="store_true", help="print the first password even where this is no terminal"
        )

    def handle(self, **options: Any) -> None:
        done = bootstrap()
        base_url = address(settings.HOST, settings.PORT)
        self.stdout.write(first_steps(done, base_url=base_url, reveal=options["print_password"] or sys.stdout.isatty()))
        for space, counts in done.documents.items():
            self.stdout.write(f"  Documents  {space}: {counts}")
