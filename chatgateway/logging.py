"""Logs are events with fields, one line each: `connection.refused wire=langbot connection_id=…`.

What is said while a socket, a call or a turn is served carries its id: `connection_id` and `wire`, `request_id`, or
`turn` and `session`. No message text, no token and no openid is ever a field.
"""

import logging
import logging.config
import time
from traceback import TracebackException
from typing import Any

import structlog
from structlog.typing import ExcInfo

REPEATED = 60.0  # seconds in which a library says the same once


def brief_traceback(exc_info: ExcInfo) -> str:
    """Return a traceback in which an exception says one line: on the next PostgreSQL tells the values of the row."""
    told = []
    for part in TracebackException(*exc_info).format():
        is_frame = part.startswith((" ", "\n"))
        told.append(part if is_frame else part.splitlines()[0] + "\n")
    return "".join(told).rstrip()


_EXCEPTION = structlog.processors.ExceptionRenderer(brief_traceback)
_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _EXCEPTION,
]


def config(*, json_lines: bool) -> dict[str, Any]:
    """Return the logging settings: readable lines, or one JSON object a line."""
    renderer = structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "event": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            },
        },
        "filters": {"brief": {"()": lambda: brief}, "sparing": {"()": Sparing}, "no_503": {"()": lambda: no_503}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "event"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Its lines carry query strings, and with them tokens.
            "uvicorn.error": {"level": "WARNING", "filters": ["sparing"]},
            "uvicorn.access": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            "django.channels.server": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            # They speak with every attempt while Redis or PostgreSQL is away, which is told by events of ours.
            "channels_redis.pubsub": {"filters": ["brief", "sparing"]},
            "psycopg.pool": {"filters": ["brief", "sparing"]},
            # Its lines carry query strings too; it stays for the request_id that it gives every other line.
            "django_structlog": {"level": "CRITICAL"},
            # A 4xx is an answer to a client, not an event on our side.
            "django.request": {"level": "ERROR", "filters": ["no_503"]},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django.security.DisallowedModelAdminLookup": {"filters": ["brief"]},
        },
    }


def brief(record: logging.LogRecord) -> bool:
    """Name a record's exception in place of its traceback: that Redis is away is no fault of ours."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", ()
        record.exc_info = None
    return True


def no_503(record: logging.LogRecord) -> bool:
    """Leave out a 503, a probe's above all: it is an answer, and what ails us is told by events of ours."""
    return getattr(record, "status_code", None) != 503


class Sparing(logging.Filter):
    """Lets a library's records through on one line, and each kind of them once in REPEATED seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is told; the kinds are as many as the library has texts."""
        if record.exc_info:
            return True  # a fault of ours, which may be another one each time
        now, kind = time.monotonic(), str(record.msg).partition("%")[0][:60]
        if now - self._told.get(kind, -REPEATED) < REPEATED:
            return False
        self._told[kind] = now
        record.msg, record.args = " ".join(record.getMessage().split()), ()
        return True


def configure(settings: dict[str, Any]) -> None:
    """Apply `settings` to the standard library's logging and point structlog at it."""
    logging.config.dictConfig(settings)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
