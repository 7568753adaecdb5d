"""What is set wrongly is one clear sentence for who started the gateway."""

import socket
from pathlib import Path

import pytest

from tests.support import forking
from tests.support.environment import plain_environment
from tests.support.server import Templates
from tests.support.waiting import free_port

pytestmark = pytest.mark.timeout(60)


COMMANDS = [
    ("bootstrap",),
    ("create_application", "shop"),
    ("load_documents", ".", "--pipeline", "00000000-0000-4000-8000-000000000001", "--space", "docs"),
]


def serve(data_dir: Path, **changes: str) -> str:
    """Run `manage.py serve`, which must fail, and return its one sentence."""
    return refused("serve", data_dir=data_dir, **changes)


def refused(*arguments: str, data_dir: Path, **changes: str) -> str:
    """Run a command of manage.py, which must fail, and return its one sentence."""
    done = forking.run(arguments, plain_environment(data_dir, **{"PORT": str(free_port()), **changes}), timeout=40)
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, f"more than a sentence:\n{done.stdout}{done.stderr}"
    assert lines[0].startswith("Configuration error: ")
    assert lines[0].endswith(".")
    return lines[0].removeprefix("Configuration error: ")


def test_a_port_in_use(tmp_path: Path, templates: Templates) -> None:
    templates.copy_sqlite(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = serve(tmp_path, PORT=str(port))
    assert sentence == f"Port {port} on 127.0.0.1 is already in use: set PORT (and HOST) to another."


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "data"
    assert serve(folder) == f"DATA_DIR {folder} cannot be made: Not a directory."
    assert "DATA_DIR" in serve(folder, SECRET_KEY="x" * 50)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 50])
def test_a_secret_key_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret_key").write_bytes(content)
    assert serve(tmp_path).startswith(f"{tmp_path / 'secret_key'} holds no key: put it back from a copy")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "localhost"])
def test_a_model_at_a_private_address(tmp_path: Path, host: str) -> None:
    changes = {"ACCESS_MODE": "token", "OPENAI_BASE_URL": f"http://{host}:8000/v1", "OPENAI_MODEL": "m"}
    assert "ALLOW_PRIVATE_UPSTREAMS=true" in serve(tmp_path, **changes)


def test_a_database_that_is_not_set_up(tmp_path: Path) -> None:
    sentence = serve(tmp_path)
    assert "manage.py migrate" in sentence
    assert str(tmp_path / "gateway.sqlite3") in sentence


def test_a_database_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "gateway.sqlite3").write_text("these are not pages of a database " * 500)
    assert f"The database {tmp_path / 'gateway.sqlite3'} cannot be opened" in serve(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"DATABASE_URL": "mysql://u:p@h/n"}, "DATABASE_URL must look like", id="another kind of database"),
        pytest.param({"SECRET_KEY": "x" * 31}, "SECRET_KEY must have at least 32 characters", id="a short key"),
        pytest.param({"DATABASE_URL": "nonsense"}, "DATABASE_URL must look like", id="no URL"),
        pytest.param({"EMAIL_URL": "pop3://u:s3cret@h"}, "EMAIL_URL must look like", id="another kind of mail server"),
        pytest.param({"EMAIL_URL": "smtp://u:s3cret@:25"}, "EMAIL_URL must look like", id="no mail server"),
        pytest.param({"DATABASE_URL": "sqlite:"}, "DATABASE_URL must look like", id="no file"),
        pytest.param({"DATABASE_URL": "postgres://u:p@h:port/n"}, "DATABASE_URL must look like", id="no port"),
        pytest.param({"DATABASE_URL": "sqlite:////nowhere/at/all/x.sqlite3"}, "cannot be opened", id="no folder"),
        pytest.param(
            {"DATABASE_URL": "postgres://u:s3cret@127.0.0.1:1/n"},
            "The database postgres://127.0.0.1:1/n cannot be opened",
            id="nobody answers",
        ),
        pytest.param({"WORKERS": "2"}, "WORKERS=2 needs REDIS_URL", id="workers without Redis"),
        pytest.param({"WORKERS": "0"}, "WORKERS must be a whole number of at least 1", id="no workers"),
        pytest.param({"HOST": "0.0.0.0"}, "HOST is 0.0.0.0", id="open access for everybody"),
        pytest.param({"HOST": "nowhere.invalid", "ACCESS_MODE": "token"}, "nowhere.invalid", id="no such host"),
        pytest.param({"PORT": "abc"}, "PORT must be a whole number", id="port no number"),
        pytest.param({"PORT": "0"}, "PORT must be a whole number of at least 1", id="port 0"),
        pytest.param({"PORT": "99999"}, "PORT must be between 1 and 65535", id="port too great"),
        pytest.param({"REDIS_URL": "http://127.0.0.1"}, "REDIS_URL must look like", id="Redis of another kind"),
        pytest.param({"REDIS_URL": "redis://127.0.0.1:port/0"}, "REDIS_URL must look like", id="Redis without port"),
        pytest.param({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "must be set together", id="server without model"),
        pytest.param({"OPENAI_MODEL": "m"}, "must be set together", id="model without server"),
        pytest.param({"OPENAI_BASE_URL": "ftp://x", "OPENAI_MODEL": "m"}, "OPENAI_BASE_URL must look like", id="ftp"),
        pytest.param({"ACCESS_MODE": "maybe"}, "ACCESS_MODE must be one of open, token", id="access mode"),
        pytest.param({"DEBUG": "perhaps"}, "DEBUG must be true or false", id="switch"),
        pytest.param({"MAX_FRAME_BYTES": "1"}, "MAX_FRAME_BYTES must be a whole number of at least", id="limit"),
        pytest.param({"TIME_ZONE": "Nowhere/City"}, "TIME_ZONE", id="time zone"),
        pytest.param({"TRUSTED_PROXIES": "nginx"}, "TRUSTED_PROXIES must list addresses", id="proxy without address"),
        pytest.param({"ALLOWED_ORIGINS": "example.com"}, "must look like https://example.com", id="origin"),
        pytest.param({"PUBLIC_URL": "foo"}, "must look like https://example.com", id="public URL"),
        pytest.param({"LEASE": "1"}, "LEASE must be more than twice BEAT", id="lease shorter than its beat"),
    ],
)
def test_a_wrong_setting(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    sentence = serve(tmp_path, **changes)
    assert says in sentence
    assert "s3cret" not in sentence


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_in_a_wrong_folder_makes_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    wrong = tmp_path / "mistyped"
    assert f"There is no DATA_DIR {wrong}" in refused(*command, data_dir=wrong)
    assert not wrong.exists()
    assert "There is no database" in refused(*command, data_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_a_command_needs_the_tables_of_this_release(tmp_path: Path) -> None:
    (tmp_path / "gateway.sqlite3").touch()
    assert "run `manage.py migrate` first" in refused("create_application", "shop", data_dir=tmp_path)
    nobody = refused("create_application", "shop", data_dir=tmp_path, DATABASE_URL="postgres://u:s3cret@127.0.0.1:1/n")
    assert "The database postgres://127.0.0.1:1/n cannot be opened" in nobody
