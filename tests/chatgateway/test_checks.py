"""What must hold before the gateway serves."""

import socket
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from chatgateway import checks
from tests.support.databases import ValkeyServer
from tests.support.waiting import free_port


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"


def test_the_defaults_may_be_served_and_make_the_folder(data_dir: Path) -> None:
    checks.check_settings("127.0.0.1", 1)
    assert data_dir.is_dir()


def test_open_access_stays_on_this_machine_unless_it_is_wanted(settings: Settings) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"HOST is 0\.0\.0\.0"):
        checks.check_settings("0.0.0.0", 1)
    settings.ALLOW_OPEN_ACCESS = True
    checks.check_settings("0.0.0.0", 1)


def test_token_access_may_be_served_to_everybody(settings: Settings) -> None:
    settings.ACCESS_MODE = "token"
    checks.check_settings("0.0.0.0", 1)


def test_workers_need_redis(settings: Settings) -> None:
    with pytest.raises(ImproperlyConfigured, match="WORKERS=2 needs REDIS_URL"):
        checks.check_settings("127.0.0.1", 2)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    checks.check_settings("127.0.0.1", 2)


@pytest.mark.django_db
def test_a_database_that_answers_and_is_set_up() -> None:
    checks.check_database()
    checks.check_migrations()


def test_no_redis_is_no_reason_to_warn() -> None:
    assert checks.layer_warning() is None


def test_a_redis_that_answers_is_no_reason_to_warn(settings: Settings, valkey: ValkeyServer) -> None:
    settings.REDIS_URL = valkey.url
    assert checks.layer_warning() is None


def test_a_redis_that_does_not_answer_is_named_without_its_password(settings: Settings) -> None:
    port = free_port()
    settings.REDIS_URL = f"redis://user:s3cret@127.0.0.1:{port}/3"
    warning = checks.layer_warning() or ""
    assert f"redis://127.0.0.1:{port}/3 does not answer" in warning
    assert "s3cret" not in warning


# --- Listening ---------------------------------------------------------------------------------


def test_a_listening_socket_takes_connections() -> None:
    port = free_port()
    [listener] = checks.listen("127.0.0.1", port)
    with listener, socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_several_sockets_listen_on_one_address() -> None:
    port = free_port()
    listeners = checks.listen("127.0.0.1", port, 3)
    assert [listener.getsockname()[1] for listener in listeners] == [port] * 3
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("count", [1, 2])
def test_an_address_in_use_is_refused(count: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ImproperlyConfigured, match=r"Port \d+ on 127\.0\.0\.1 is already in use: set PORT"),
    ):
        checks.listen("127.0.0.1", other.getsockname()[1], count)


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("127.0.0.1", 70_000, "PORT must be between 1 and 65535, not 70000"),
        ("192.0.2.1", 8000, r"cannot be listened on \(Cannot assign requested address\)"),
        ("nowhere.invalid", 8000, r"Port 8000 on nowhere\.invalid cannot be listened on"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(host: str, port: int, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        checks.listen(host, port)
