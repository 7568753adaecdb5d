"""Small facts about the machine that settings and checks need; imports no Django app."""

import contextlib
import ipaddress
import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address, stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_data_dir(folder: Path) -> None:
    """Make `folder` where it is missing; raise ImproperlyConfigured where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        except OSError as error:
            raise ImproperlyConfigured(f"{path} cannot be written: {error.strerror}.") from error
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}.") from error
