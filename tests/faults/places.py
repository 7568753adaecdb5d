"""The two places that promises are tried in: one worker on SQLite, two on PostgreSQL with Valkey."""

from tests.conftest import GatewayFactory
from tests.faults.measuring import Place
from tests.support.server import GatewayProcess

PLACES: tuple[Place, ...] = ("SQLite", "PostgreSQL + Valkey")


def start_at(start_gateway: GatewayFactory, place: Place, *, model: str = "") -> GatewayProcess:
    """Start a gateway there, without limits in the way; with a `model`, its base URL, it asks that first."""
    environment = {"RATE_LIMITS": "off"}
    if place == "SQLite":
        return start_gateway(model=model, environment=environment)
    return start_gateway(database="postgres", workers=2, model=model, environment=environment)
