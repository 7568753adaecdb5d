"""Visitors of the pages, without a browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from tests.support.admin import PASSWORD
from tests.support.server import GatewayProcess


@contextmanager
def visitor(gateway: GatewayProcess, *, name: str = "", **headers: str) -> Iterator[httpx2.Client]:
    """Give a client that keeps cookies and follows nothing; with a `name`, staff that is logged in."""
    with httpx2.Client(base_url=gateway.url, headers=headers, timeout=15) as client:
        if name:
            client.get("/admin/login/")
            form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
            assert client.post("/admin/login/", data=form).status_code == 302
        yield client


def words(html: str) -> str:
    """Return what a page says, without its elements."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
