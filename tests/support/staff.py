"""Somebody at the admin of a running gateway."""

from typing import Any

import httpx2

from tests.support.server import GatewayProcess, manage

PASSWORD = "a password for tests"


class Staff:
    """A superuser, logged in; follows redirects as a browser does."""

    def __init__(self, gateway: GatewayProcess) -> None:
        manage(
            "createsuperuser", "--noinput", "--username", "owner", "--email", "owner@blog.example",
            data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url, DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        )  # fmt: skip
        self._client = httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30, follow_redirects=True)
        self.get("/admin/login/")
        self.post("/admin/login/", username="owner", password=PASSWORD)

    def get(self, path: str) -> str:
        """Return a page."""
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, **fields: Any) -> str:
        """Post a form and return the page it leads to, where it leads to one."""
        token = self._client.cookies["csrftoken"]
        answer = self._client.post(path, data={"csrfmiddlewaretoken": token, **fields})
        assert answer.status_code in (200, 204), answer.text
        return answer.text

    def close(self) -> None:
        """Leave."""
        self._client.close()
