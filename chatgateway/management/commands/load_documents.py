from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from chatgateway.management.command import DatabaseCommand
from conversations import services
from conversations.drafts import DocumentError


class Command(DatabaseCommand):
    help = "Load a folder of Markdown and text files into a pipeline's knowledge; run it again after changes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", metavar="PATH", help="The folder; its subfolders are read too.")
        parser.add_argument("--pipeline", required=True, metavar="UUID", help="The pipeline that answers from it.")
        parser.add_argument("--space", required=True, metavar="NAME", help="The collection; one folder each.")
        parser.add_argument(
            "--url-base", default="", metavar="URL", help="Where readers find the files; their paths are appended."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            pipeline = UUID(options["pipeline"])
        except ValueError as error:
            raise CommandError(f"--pipeline must be a UUID, not {options['pipeline']!r}.") from error
        try:
            load = services.load_folder(pipeline, options["space"], Path(options["path"]), url_base=options["url_base"])
        except DocumentError as error:
            raise CommandError(str(error)) from error
        for reason in load.skipped:
            self.stderr.write(f"Skipped {reason}.")
        self.stdout.write(
            f"{load.added} added, {load.changed} changed, {load.removed} removed, {load.unchanged} unchanged."
        )
