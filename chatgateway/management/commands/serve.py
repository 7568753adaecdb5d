"""Serve the gateway with uvicorn."""

import os
import signal
import socket
import sys
from argparse import SUPPRESS
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from chatgateway import checks, server
from chatgateway.setup import Bootstrapped, address, bootstrap, first_steps
from chatgateway.supervisor import LOADED, Supervisor
from chatgateway.upgrade import migrate


class Command(BaseCommand):
    """Serve on HOST and PORT with WORKERS processes."""

    help = "Serve the gateway. HOST, PORT and WORKERS come from the environment or .env."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options; the hidden ones are how a supervisor starts its workers."""
        parser.add_argument("--host", default=settings.HOST)
        parser.add_argument("--port", type=int, default=settings.PORT)
        parser.add_argument("--workers", type=int, default=settings.WORKERS)
        parser.add_argument("--prepare", action="store_true", help="migrate and bootstrap first")
        parser.add_argument("--orders", type=int, help=SUPPRESS)
        parser.add_argument("--life", type=int, help=SUPPRESS)
        parser.add_argument("--news", type=int, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, prepare, say where things are, serve."""
        if options["orders"] is not None:
            self._work(options["orders"], options["life"], options["news"])
            return
        host, port, workers = options["host"], options["port"], options["workers"]
        if workers > 1 or not (sys.stdin and sys.stdin.isatty()):
            # No terminal that went away: somebody wants a rolling restart, for which it is too early or not enough.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        checks.check_settings(host, workers)
        checks.check_database()
        claim = None if settings.REDIS_URL else checks.claim_data_dir()
        listeners = checks.listen(host, port, workers)
        bootstrapped = None
        if options["prepare"]:
            migrate()
            bootstrapped = bootstrap()
        checks.check_migrations()
        if warning := checks.layer_warning():
            self.stderr.write(warning)
        self._say_where(host, port, bootstrapped)
        connections.close_all()
        if workers == 1:
            server.run(listeners[0])
            if claim is not None:
                claim.close()
        else:
            # Each worker reads `.env` itself, as it is then.
            environment = {name: value for name, value in os.environ.items() if name not in settings.ENV_FILE_NAMES}
            patience = settings.DRAIN_TIMEOUT + server.STOP_PATIENCE + 0.5  # by then a worker has ended by itself
            Supervisor(listeners, environment={**environment, "WORKERS": str(workers)}, patience=patience).run()

    def _work(self, orders: int, life: int, news: int) -> None:
        """Serve as a supervisor's worker once it sends a listener, where the database is that of this release."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        server.load()
        server.freeze()  # now, where there is time, most of what is frozen again once this serves
        with suppress(BrokenPipeError):  # the supervisor is gone, as is told next
            os.write(news, LOADED)
        with socket.socket(fileno=orders) as told:
            _, listeners, _, _ = socket.recv_fds(told, 1, 1)
        if not listeners:
            return  # the supervisor is gone
        checks.check_database()
        checks.check_migrations()
        connections.close_all()
        server.run(socket.socket(fileno=listeners[0]), until=life, news=news)

    def _say_where(self, host: str, port: int, bootstrapped: Bootstrapped | None) -> None:
        base = address(host, port)
        if bootstrapped is not None:
            self.stdout.write(first_steps(bootstrapped, base_url=base, reveal=self.stdout.isatty()))
        else:
            self.stdout.write(f"Chat gateway on {base}")
        if settings.ACCESS_MODE == "open":
            self.stdout.write("  Access     open to everybody on this machine; set ACCESS_MODE=token for production")
        else:
            self.stdout.write("  Access     by token: `manage.py create_application NAME --token` makes one")
        self.stdout.flush()
