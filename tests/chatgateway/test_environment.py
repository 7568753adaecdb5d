"""Facts about the machine: loopback addresses, the data folder, the secret key."""

import os
import stat
import threading
from pathlib import Path

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from chatgateway.environment import is_loopback, make_data_dir, read_env_file, read_or_make_secret_key


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_these_stay_on_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "", "localhost.example"])
def test_these_do_not(host: str) -> None:
    assert not is_loopback(host)


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_data_dir(folder)
    make_data_dir(folder)
    assert folder.is_dir()


def test_a_folder_below_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match=r"DATA_DIR .*/file/data cannot be made: Not a directory\."):
        make_data_dir(tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ImproperlyConfigured, match="cannot be written by this user"):
        make_data_dir(tmp_path)


def test_a_secret_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key = read_or_make_secret_key(tmp_path)
    path = tmp_path / "secret_key"
    assert len(key) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_secret_key(tmp_path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret_key"]


def test_an_operators_own_key_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("my own key, which is as long as it is to be\n")
    assert read_or_make_secret_key(tmp_path) == "my own key, which is as long as it is to be"


def test_a_key_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "secret_key").mkdir()
    with pytest.raises(ImproperlyConfigured, match=r"secret_key cannot be read: Is a directory\."):
        read_or_make_secret_key(tmp_path)


def test_starts_at_the_same_time_agree_on_one_key(tmp_path: Path) -> None:
    keys: list[str] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        keys.append(read_or_make_secret_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"ACCESS_MODE token\n", "line 1, is not of the form NAME=value"),
        ("# 注释\nPORT=1\n".encode("gbk"), "it is not UTF-8"),
        (None, "Is a directory"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / ".env"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=says):
        read_env_file(environ.Env(), path)


def test_an_env_file_gives_what_the_environment_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_text("# a comment\n\nGATEWAY_TEST_A=file\nexport GATEWAY_TEST_B=file\n")
    monkeypatch.setenv("GATEWAY_TEST_A", "environment")
    monkeypatch.setenv("GATEWAY_TEST_B", "to be put back")
    monkeypatch.delenv("GATEWAY_TEST_B")
    read_env_file(environ.Env(), path)
    assert (os.environ["GATEWAY_TEST_A"], os.environ["GATEWAY_TEST_B"]) == ("environment", "file")
    read_env_file(environ.Env(), tmp_path / "none")
