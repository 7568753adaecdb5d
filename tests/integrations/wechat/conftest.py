"""Gateways for all tests of this wire: open with simulated logins, open with a model, and one that wants tokens."""

from collections.abc import Iterator

import pytest

from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.server import GatewayProcess, Templates, manage
from tests.support.wechat import APPID, SECRET, WeChat, wechat_in_thread


@pytest.fixture(scope="module")
def gateway(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use; any code logs in."""
    folder = tmp_path_factory.mktemp("open")
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder), environment={"RATE_LIMITS": "off"})
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that takes its time."""
    with model_in_thread() as model:
        yield model


@pytest.fixture
def slow(model: FakeModel) -> FakeModel:
    """The model, a second for each answer."""
    model.mode, model.delay = Mode.SLOW, 0.05
    return model


@pytest.fixture(scope="module")
def modelled(
    model: FakeModel, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """An open gateway whose answers come from the model."""
    folder = tmp_path_factory.mktemp("model")
    environment = {
        "OPENAI_BASE_URL": model.base_url(),
        "OPENAI_MODEL": "stub",
        "RATE_LIMITS": "off",
        "MODEL_IDLE_TIMEOUT": "1",
    }
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder), environment=environment)
    manage("bootstrap", data_dir=folder, DATABASE_URL=gateway.database_url, **environment)
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def wechat() -> Iterator[WeChat]:
    """WeChat's servers."""
    with wechat_in_thread() as wechat:
        yield wechat


@pytest.fixture(scope="module")
def guarded(wechat: WeChat, templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, and logs in with WeChat."""
    folder = tmp_path_factory.mktemp("token")
    environment = {
        "ACCESS_MODE": "token",
        "RATE_LIMITS": "off",
        "ALLOW_PRIVATE_UPSTREAMS": "true",
        "WECHAT_APPID": APPID,
        "WECHAT_APP_SECRET": SECRET,
        "WECHAT_API_BASE": wechat.url,
        "WECHAT_LOGIN_TIMEOUT": "1",
        "ALLOWED_ORIGINS": "https://shop.example",
    }
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder), environment=environment)
    gateway.start()
    yield gateway
    gateway.close()
    for canary in (SECRET, "canary-session-key", "canary-openid", "canary-code", "canary-token", "canary words"):
        assert canary not in gateway.log(), canary
