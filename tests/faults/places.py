"""The two places that promises are tried in: one worker on SQLite, two on PostgreSQL with Valkey."""

from tests.conftest import GatewayFactory
from tests.faults.measuring import Place
from tests.support.server import GatewayProcess, manage, model_settings

PLACES: tuple[Place, ...] = ("SQLite", "PostgreSQL + Valkey")


def start_at(start_gateway: GatewayFactory, place: Place, *, model: str = "") -> GatewayProcess:
    """Start a gateway there, without limits in the way; with a `model`, its base URL, it asks that first."""
    environment = {"RATE_LIMITS": "off"}
    if place == "SQLite":
        return start_gateway(model=model, environment=environment)
    if not model:
        return start_gateway(database="postgres", workers=2, environment=environment)
    environment |= model_settings(model)
    gateway = start_gateway(database="postgres", workers=2, environment=environment, start=False)
    manage("bootstrap", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url, **environment)
    gateway.start()
    return gateway
