"""The collaborators that the composition root hands to every wire."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from connections.auth import Authenticator
from connections.hub import Hub
from connections.limits import Brake, Limiter, Places
from connections.metrics import Metrics
from connections.registry import Registry
from conversations.catalogue import Catalogue
from conversations.store import Store
from conversations.turns import TurnRunner
from conversations.uploads.shelf import Uploads


class WireOptions(msgspec.Struct, frozen=True):
    """Settings of the wires. Times in seconds, sizes in bytes."""

    open_access: bool
    proxied_open_access: bool
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: tuple[str, ...] = ()
    authenticate_timeout: float = 10.0
    close_timeout: float = 5.0
    small_frame_bytes: int = 64 * 1024
    outbound_bytes: int = 1024 * 1024
    connections: int = 20_000
    public_url: str = ""  # where people find this server, empty where nobody has said it
    # Of a connection in a second, 0 for as many as it wants; of an address, a session and an application in a minute.
    messages: int = 0
    bytes: int = 0
    calls_of_address: int = 60_000
    turns_of_session: int = 6_000
    turns_of_application: int = 120_000


@dataclass(frozen=True, slots=True)
class Parts:
    """Hub, store, turns and what else a wire works with; `ready` starts them at first use."""

    hub: Hub
    store: Store
    turns: TurnRunner
    uploads: Uploads
    catalogue: Catalogue
    registry: Registry
    authenticator: Authenticator
    limiter: Limiter
    places: Places  # of an address
    brake: Brake
    metrics: Metrics
    options: WireOptions
    ready: Callable[[], Awaitable[None]]
