"""Small facts about the machine that settings and checks need; imports no Django app."""

import contextlib
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

SHORTEST_KEY = 32  # characters


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address, stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Tell whether `text` is an address or a network."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_origin(text: str) -> bool:
    """Tell whether `text` is a web address with scheme and host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def canonical_origin(text: str) -> str:
    """Return a web address as a browser says it as its origin: in small letters, without the port that goes without."""
    parts = urlsplit(text.lower())
    port = parts.port if parts.port != {"http": 80, "https": 443}[parts.scheme] else None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


# A page that this machine serves to itself.
LOOPBACK_ORIGIN = r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?\Z"


def read_env_file(env: environ.Env, path: Path) -> frozenset[str]:
    """Take the settings in `path` where the environment has none, and return their names.

    Raises ImproperlyConfigured where it is no such file. One that is there and cannot be read must not be passed over:
    it may hold ACCESS_MODE=token.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ImproperlyConfigured(f"{path} cannot be read: {reason}.") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#") and not _ASSIGNMENT.match(line):
            raise ImproperlyConfigured(f"{path}, line {number}, is not of the form NAME=value.")
    before = set(os.environ)
    env.read_env(path)
    return frozenset(os.environ.keys() - before)


_ASSIGNMENT = re.compile(r"\s*(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=")


def needs_database(argv: Sequence[str]) -> bool:
    """Tell whether a command line works on a database that is there, so that no folder is to be made for it."""
    return argv[1:2] in _ON_DATABASE and not {"-h", "--help"} & set(argv)


_ON_DATABASE = (["backup"], ["bootstrap"], ["create_application"], ["gateway_status"], ["load_documents"])


def make_data_dir(folder: Path) -> None:
    """Make `folder` where it is missing; raise ImproperlyConfigured where it cannot be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds what people said
    except OSError as error:
        raise ImproperlyConfigured(f"DATA_DIR {folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"DATA_DIR {folder} cannot be written by this user.")


def read_or_make_secret_key(folder: Path) -> str:
    """Return the key kept in `folder`/secret_key, made on first use with mode 0600."""
    make_data_dir(folder)
    path = folder / "secret_key"
    # Linked into place whole, so that two processes starting at once agree on one key.
    if not path.exists():
        draft = folder / f".secret_key.{secrets.token_hex(8)}"
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(48))
                file.flush()
                os.fsync(file.fileno())  # whatever happens next: an empty key would be nobody's and everybody's
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        except OSError as error:
            raise ImproperlyConfigured(f"{path} cannot be written: {error.strerror}.") from error
    try:
        key = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ImproperlyConfigured(f"{path} holds no key: put it back from a copy.") from error
    if len(key) < SHORTEST_KEY:
        raise ImproperlyConfigured(
            f"{path} holds no key: put it back from a copy, or delete it, which ends all sessions and resume tokens."
        )
    return key
