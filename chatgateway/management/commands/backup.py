import contextlib
import shutil
import sqlite3
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.core.management.base import CommandError
from django.db import connection
from django.utils.text import get_text_list

from chatgateway.management.command import DatabaseCommand


class Command(DatabaseCommand):
    help = (
        "Copy what a restore needs into a new folder: the database, as it is at this moment, the secret key, and the "
        "files that people sent."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="does not exist yet; it will hold what people said")

    def handle(self, *_args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            folder.mkdir(mode=0o700, parents=True)
            # Files last: all that the database tells of are there already.
            kept = [*self._copy_secret_key(folder), *self._copy_database(folder), *self._copy_uploads(folder)]
        except FileExistsError as error:
            raise CommandError(f"{folder} exists already: name a new folder.") from error
        except (OSError, sqlite3.Error) as error:
            raise CommandError(f"The copy in {folder} is not whole: {error}.") from error
        self.stdout.write(f"Copied {get_text_list(kept, 'and') or 'nothing'} to {folder}.")
        if connection.vendor == "postgresql":
            self.stdout.write("The database is PostgreSQL's: copy it with pg_dump --format=custom.")

    def _copy_secret_key(self, folder: Path) -> list[str]:
        """Copy the key where it is a file of ours; where the environment gives it, it is kept there."""
        source = settings.DATA_DIR / "secret_key"
        if not source.exists():
            return []
        shutil.copy2(source, folder)  # with its mode, 0600
        return ["the secret key"]

    def _copy_database(self, folder: Path) -> list[str]:
        """Copy SQLite's file in one piece: what is committed meanwhile neither waits nor is half in it."""
        if connection.vendor != "sqlite":
            return []
        target = folder / "gateway.sqlite3"
        target.touch(mode=0o600)
        source = f"{Path(connection.settings_dict['NAME']).resolve().as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(source, uri=True)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")  # one file, also where it is looked at
            (verdict,) = new.execute("PRAGMA quick_check").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        return ["the database"]

    def _copy_uploads(self, folder: Path) -> list[str]:
        """Copy what people sent; what is forgotten meanwhile need not be there, nor what is only half written."""
        source = Path(storages["uploads"].path(""))
        count = 0
        for file in sorted(source.glob("*/[!.]*")):
            target = folder / "uploads" / file.relative_to(source)
            for parent in (target.parent.parent, target.parent):
                parent.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(file, target)  # with its mode, 0600
                count += 1
        return [f"{count} file{'' if count == 1 else 's'} of uploads"] if count else []
