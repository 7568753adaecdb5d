"""What the first start makes, and what every start brings up to date. Runs after `migrate`; idempotent."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from chatgateway.roles import ensure_roles
from conversations.defaults import ensure_default_pipeline, spaces_of
from conversations.services import load_folder

ADMIN = "admin"
PASSWORD_FILE = "admin_password"  # noqa: S105  a file's name
SPACES = {"product-zh": "docs/product/zh", "product-en": "docs/product/en"}
NAME = "网关助手 · Gateway assistant"
DESCRIPTION = (
    "用产品自带的文档回答关于本聊天网关的问题。\n"
    "Answers questions about this chat gateway from the product's own documentation."
)


@dataclass(frozen=True)
class Bootstrapped:
    """What a start found or made; `admin_password` is set once, by the start that made the first superuser."""

    pipeline: UUID
    admin_password: str | None
    documents: dict[str, Any] = field(default_factory=dict)


def bootstrap() -> Bootstrapped:
    """Make what is missing of the default pipeline, its documents, the roles and the first superuser, or nothing."""
    pipeline = UUID(settings.DEFAULT_PIPELINE)
    with transaction.atomic():
        made = ensure_default_pipeline(
            pipeline, name=NAME, description=DESCRIPTION, with_model=bool(settings.OPENAI_BASE_URL)
        )
        ensure_roles()
        # A space that the operator emptied stays empty; one that is there follows the release.
        wanted = set(SPACES) if made else spaces_of(pipeline) & set(SPACES)
        documents = {
            space: load_folder(pipeline, space, folder)
            for space, path in SPACES.items()
            if space in wanted and (folder := settings.BASE_DIR / path).is_dir()
        }
        return Bootstrapped(pipeline, _first_superuser(), documents)


def address(host: str, port: int) -> str:
    """Return what to type for a gateway that listens there: `host` itself, but for those that mean all of them."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104  compared, not bound
        host = "127.0.0.1"
    return settings.PUBLIC_URL or f"http://{f'[{host}]' if ':' in host else host}:{port}"


def first_steps(done: Bootstrapped, *, base_url: str, reveal: bool) -> str:
    """Return what to tell whoever started the gateway: addresses, an example, and the first password.

    Without `reveal` the password goes into a file of mode 0600 in DATA_DIR, and its path is told instead.
    """
    token = "?token=TOKEN" if settings.ACCESS_MODE == "token" else ""
    chat = f"{base_url.replace('http', 'ws', 1)}/api/v1/pipelines/{done.pipeline}/ws/connect"
    lines = [
        f"Chat gateway on {base_url}",
        f"  Pipeline   {done.pipeline}",
        f"  WebSocket  {chat}",
        f"  Try it     .venv/bin/python -m websockets '{chat}{token}'",
        '             then type  {"type": "message", "message": [{"type": "Plain", "text": "这个产品能做什么？"}]}',
        f"  API        {base_url}/api/docs/",
        f"  Admin      {base_url}/admin/",
    ]
    if done.admin_password is not None and reveal:
        lines.append(f"             user {ADMIN}, password {done.admin_password}  (shown only this once)")
    elif done.admin_password is not None:
        lines.append(f"             user {ADMIN}, password in {keep_password(done.admin_password)}")
    return "\n".join(lines)


def keep_password(password: str) -> Path:
    """Write the first password where only this user can read it, and return where."""
    path: Path = settings.DATA_DIR / PASSWORD_FILE
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{password}\n")
    return path


def _first_superuser() -> str | None:
    """Make the superuser where there is none, and return its new password."""
    if User.objects.filter(is_superuser=True).exists() or User.objects.filter(username=ADMIN).exists():
        return None
    password = secrets.token_urlsafe(12)
    User.objects.create_superuser(ADMIN, password=password)
    return password
