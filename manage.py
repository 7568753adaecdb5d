#!/usr/bin/env python
"""Run a command of the chat gateway."""

import os
import sys


def main() -> None:
    """Run the command line; a configuration error is one sentence, not a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatgateway.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Configuration error: {error}")


if __name__ == "__main__":
    main()
