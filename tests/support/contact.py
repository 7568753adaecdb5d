"""A client of the contact wire."""

from typing import Any, Self

from tests.support.clients import Frame, SocketClient, dial, is_type
from tests.support.server import GatewayProcess


class ContactClient(SocketClient):
    """A visitor's socket. `established` is its first frame."""

    established: Frame

    @classmethod
    async def connect(
        cls, server: GatewayProcess | str, *, headers: dict[str, str] | None = None, **query: str | int
    ) -> Self:
        """Connect to a gateway or its ws:// address and read the first frame, which may be an error."""
        client = cls(await dial(server, "/contact", query, headers=headers))
        client.established = await client.recv()
        return client

    @property
    def credentials(self) -> dict[str, Any]:
        """What re-enters this visitor's session."""
        return {name: str(self.established[name]) for name in ("client_id", "resume_token")}

    async def chat(self, text: str, **fields: Any) -> list[Frame]:
        """Ask, and return every frame up to and with the answer."""
        await self.send({"type": "chat_message", "message": text, "timestamp": "2026-05-01T12:00:00", **fields})
        return await self.until(is_type("chat_message"), 60)

    async def request(self, text: str, **fields: Any) -> Frame:
        """Call for the owner, and return the next frame."""
        await self.send({"type": "contact_request", "message": text, "timestamp": "", "userAgent": "test", **fields})
        return await self.recv()

    async def resume(self, last_seq: int, **changes: str) -> None:
        """Send a resume frame of this visitor, with `changes`."""
        await self.send({"type": "resume", **self.credentials, "last_seq": last_seq, **changes})
