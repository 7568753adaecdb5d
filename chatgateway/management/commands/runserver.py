"""Daphne's development server, where the settings say."""

from daphne.management.commands.runserver import Command as DaphneCommand
from django.conf import settings


class Command(DaphneCommand):  # type: ignore[misc]  # daphne ships no types
    default_addr = settings.HOST
    default_port = str(settings.PORT)
