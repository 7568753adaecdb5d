"""What named clients tell one another, and what staff asks of connections, as events and topics. Pure.

A client's letters lie in its mailbox, in the database; the events only wake whoever reads it. What is not worth
keeping (a heartbeat, a question to a service) travels in the event itself, to those who are connected.
"""

from uuid import UUID

import msgspec


class ClientTopic(msgspec.Struct, frozen=True):
    """The connection of one named client, wherever it is."""

    client_id: str

    @property
    def name(self) -> str:
        return f"client/{self.client_id}"


class ReplyTopic(msgspec.Struct, frozen=True):
    """Whoever waits for a reply at an address that the gateway gave out."""

    address: str

    @property
    def name(self) -> str:
        return f"reply/{self.address}"


class _Unordered(msgspec.Struct, frozen=True, tag=True):
    @property
    def seq(self) -> int | None:
        return None


class MailWaiting(_Unordered, frozen=True, tag=True):
    """There is something new in the client's mailbox."""


class Passing(_Unordered, frozen=True, tag=True):
    """A letter for whoever is connected; `text` is its JSON. Nobody keeps it."""

    text: str


class Replaced(_Unordered, frozen=True, tag=True):
    """A newer connection has taken the client's name from connection `connection`."""

    connection: UUID


class Probe(_Unordered, frozen=True, tag=True):
    """Somebody wants the name of connection `connection`, which is to show that its peer is there still."""

    connection: UUID


class StillHere(_Unordered, frozen=True, tag=True):
    """Connection `connection` was probed, and its peer answers."""

    connection: UUID


class Replied(_Unordered, frozen=True, tag=True):
    """A client answered an address; `text` is the letter's JSON."""

    sender: str
    text: str


class ConnectionsTopic(msgspec.Struct, frozen=True):
    """Requests about connections, to every process."""

    @property
    def name(self) -> str:
        return "connections"


class EndConnections(_Unordered, frozen=True, tag=True):
    """Staff wants these connections closed; whichever process has one closes it."""

    connections: tuple[UUID, ...]
    code: int
    reason: str


ClientEvent = MailWaiting | Passing | Replaced | Probe | StillHere | Replied
