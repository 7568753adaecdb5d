"""`manage.py create_application NAME`: a new application's appid and secret, and on request a token."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from connections.auth import Scope
from connections.services import DEFAULT_SCOPES, create_application, issue_token
from conversations.selectors import pipeline_configs


class Command(BaseCommand):
    help = "Create an application and print its appid and secret; the secret is not kept and cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--token", action="store_true", help="issue an access token too, and print it")
        parser.add_argument(
            "--scopes",
            default=",".join(sorted(DEFAULT_SCOPES)),
            help=f"the token's, separated by commas, of {', '.join(Scope)} (default: %(default)s)",
        )
        parser.add_argument("--pipeline", metavar="UUID", help="the only pipeline that its tokens work on")
        parser.add_argument("--callback-url", default="", help="where answers to /chat/async are posted, signed")
        parser.add_argument(
            "--prefix", action="append", default=[], help="what its client IDs on the hub must begin with; repeatable"
        )
        parser.add_argument(
            "--origin", action="append", default=[], help="a browser origin, such as https://example.com; repeatable"
        )

    def handle(self, **options: Any) -> None:
        scopes = _scopes(options["scopes"])
        pipeline = _pipeline(options["pipeline"])
        if not options["name"].strip() or len(options["name"]) > 100:
            raise CommandError("NAME must have 1 to 100 characters.")
        with transaction.atomic():
            try:
                application, secret = create_application(
                    options["name"],
                    pipeline=pipeline,
                    origins=options["origin"],
                    callback_url=options["callback_url"],
                    client_prefixes=options["prefix"],
                )
            except (ValueError, ValidationError) as error:
                raise CommandError(
                    " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
                ) from error
            token = issue_token(application, scopes, label="create_application")[1] if options["token"] else None
        self.stdout.write(f"appid: {application.appid}")
        self.stdout.write(f"secret: {secret}")
        if token is not None:
            self.stdout.write(f"token: {token}")


def _scopes(text: str) -> list[Scope]:
    try:
        scopes = [Scope(name.strip()) for name in text.split(",") if name.strip()]
    except ValueError as error:
        raise CommandError(f"--scopes must be of {', '.join(Scope)}, separated by commas, not {text!r}.") from error
    if not scopes:
        raise CommandError("--scopes must name at least one scope.")
    return scopes


def _pipeline(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        pipeline = UUID(text)
    except ValueError as error:
        raise CommandError(f"--pipeline must be a UUID, not {text!r}.") from error
    if pipeline not in pipeline_configs():
        raise CommandError(f"There is no pipeline {pipeline}.")
    return pipeline
