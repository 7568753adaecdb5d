"""The gateway's settings, with an echo beside its own routes: what Autobahn's fuzzing client talks to."""

from chatgateway.settings import *  # noqa: F403  it is a settings module

ASGI_APPLICATION = "tests.faults.echo.application"
