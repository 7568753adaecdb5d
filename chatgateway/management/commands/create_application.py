"""`manage.py create_application NAME`: a new application's appid and secret, and on request a token."""

from argparse import ArgumentParser
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction

from chatgateway.management.command import DatabaseCommand
from connections.auth import Scope
from connections.selectors import applications_named
from connections.services import DEFAULT_SCOPES, create_application, issue_token
from conversations.responders.upstream import is_public
from conversations.selectors import pipeline_configs
from integrations.postoffice.protocol import is_reserved


class Command(DatabaseCommand):
    help = "Create an application and print its appid and secret; the secret is not kept and cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--token", action="store_true", help="issue an access token too, and print it")
        parser.add_argument(
            "--scopes",
            help=f"the token's, separated by commas, of {', '.join(Scope)} "
            f"(default: {','.join(sorted(DEFAULT_SCOPES))})",
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
        name = options["name"]
        if not name.strip() or len(name) > 100:
            raise CommandError("NAME must have 1 to 100 characters.")
        scopes = DEFAULT_SCOPES if options["scopes"] is None else _scopes(options["scopes"])
        if options["scopes"] is not None and not options["token"]:
            raise CommandError("--scopes are a token's: give --token too.")
        pipeline = _pipeline(options["pipeline"])
        _check_prefixes(options["prefix"])
        namesakes = applications_named(name)
        with transaction.atomic():
            try:
                application, secret = create_application(
                    name,
                    pipeline=pipeline,
                    origins=options["origin"],
                    callback_url=options["callback_url"],
                    client_prefixes=options["prefix"],
                )
            except ValidationError as error:  # of its fields only this one is not checked above
                raise CommandError(f"--callback-url {options['callback_url']}: {' '.join(error.messages)}") from error
            except ValueError as error:
                raise CommandError(f"--origin {error}") from error
            token = issue_token(application, scopes, label="create_application")[1] if options["token"] else None
        self.stdout.write(f"appid: {application.appid}")
        self.stdout.write(f"secret: {secret}")
        if token is not None:
            self.stdout.write(f"token: {token}")
        if namesakes:
            self.stderr.write(f"Warning: {namesakes} more of the name {name!r}; only the appid tells them apart.")
        if not settings.ALLOW_PRIVATE_UPSTREAMS and _is_private(options["callback_url"]):
            self.stderr.write("Warning: --callback-url is at a private address, and ALLOW_PRIVATE_UPSTREAMS is off.")


def _scopes(text: str) -> frozenset[Scope]:
    try:
        scopes = frozenset(Scope(name.strip()) for name in text.split(",") if name.strip())
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


def _check_prefixes(prefixes: list[str]) -> None:
    for prefix in prefixes:
        if not prefix.strip():
            raise CommandError("--prefix must not be empty; leave it out where any client ID will do.")
        if is_reserved(prefix):
            raise CommandError(f"--prefix {prefix} is the gateway's own name, which no client can have.")


def _is_private(url: str) -> bool:
    """Tell whether a URL names this machine or a private address in so many words; other names are not looked up."""
    host = urlsplit(url).hostname or ""
    try:
        return not is_public(ip_address(host))
    except ValueError:
        return host == "localhost"
