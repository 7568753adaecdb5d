"""What our commands have in common: they work on the database of a gateway that was set up."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from chatgateway import checks


class DatabaseCommand(BaseCommand):
    """A command that says in one sentence that there is no such database."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Check the database first, and make no file where there is none."""
        file = Path(str(connection.settings_dict["NAME"]))
        if connection.vendor == "sqlite" and not file.exists():
            raise ImproperlyConfigured(
                f"There is no database {file}: set DATA_DIR to the gateway's, or run `manage.py migrate` first."
            )
        checks.check_database()
        checks.check_migrations()
        try:
            return super().execute(*args, **options)
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}.") from error
