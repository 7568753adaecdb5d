"""Gateways for all tests of this wire: open with simulated logins, open with a model, and one that wants tokens."""

from collections.abc import Iterator

import pytest

from tests.conftest import Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.server import GatewayProcess
from tests.support.wechat import APPID, SECRET, WeChat, wechat_in_thread


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use; any code logs in."""
    with serve(RATE_LIMITS="off") as gateway:
        yield gateway


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
def modelled(model: FakeModel, serve: Serve) -> Iterator[GatewayProcess]:
    """An open gateway whose answers come from the model."""
    with serve(model=model.base_url(), RATE_LIMITS="off", MODEL_IDLE_TIMEOUT="1") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def wechat() -> Iterator[WeChat]:
    """WeChat's servers."""
    with wechat_in_thread() as wechat:
        yield wechat


@pytest.fixture(scope="module")
def guarded(wechat: WeChat, serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, and logs in with WeChat."""
    settings = {
        "ACCESS_MODE": "token",
        "RATE_LIMITS": "off",
        "ALLOW_PRIVATE_UPSTREAMS": "true",
        "WECHAT_APPID": APPID,
        "WECHAT_APP_SECRET": SECRET,
        "WECHAT_API_BASE": wechat.url,
        "WECHAT_LOGIN_TIMEOUT": "2",
        "ALLOWED_ORIGINS": "https://shop.example",
    }
    with serve(**settings) as gateway:
        yield gateway
    for canary in (SECRET, "canary-session-key", "canary-openid", "canary-code", "canary-token", "canary words"):
        assert canary not in gateway.log(), canary
