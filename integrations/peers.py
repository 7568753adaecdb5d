"""Who is at the other end of a request: address, headers, credential, and whether a proxy stands between."""

import ipaddress
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from django.http.request import split_domain_port

_PROXY_HEADERS = (b"forwarded", b"x-forwarded-")
BEARER = "bearer "
SUBPROTOCOL = "bearer."
RESUME_SUBPROTOCOL = "resume."  # a browser's socket can keep its resume token out of logs in no other way
RESUME_HEADER = "x-resume-token"


class Peer:
    """The facts of an ASGI scope that decide who may do what."""

    def __init__(self, scope: Mapping[str, Any], trusted_proxies: Iterable[str] = ()) -> None:
        self.headers: dict[str, str] = {}
        self.proxied = False
        for name, value in scope["headers"]:
            lower = name.lower()
            self.headers[lower.decode("latin-1")] = value.decode("latin-1")
            self.proxied = self.proxied or lower.startswith(_PROXY_HEADERS)
        self.query: dict[str, str] = {
            key: values[-1]
            for key, values in parse_qs(
                scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True
            ).items()
        }
        # One that is not ASCII cannot be echoed.
        self.subprotocols = [offer for offer in scope.get("subprotocols") or () if offer.isascii()]
        client = scope.get("client")
        self.address = client_address(
            client[0] if client else "", self.headers.get("x-forwarded-for", ""), tuple(trusted_proxies)
        )
        self.scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "http"), scope.get("scheme", "http"))

    @property
    def network(self) -> str:
        """Whom limits count: the address, but of IPv6 the network of which one host has every address."""
        return network_of(self.address)

    @property
    def origin(self) -> str | None:
        """The browser's origin, or None where no browser speaks."""
        return self.headers.get("origin")

    @property
    def is_own_page(self) -> bool:
        """Whether a browser says that a page of ours asks: it leaves the origin out where it only reads."""
        site = self.headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        # Over plain HTTP it leaves that out too, but not where the page is that asks.
        return bool(self.host) and self.headers.get("referer", "").startswith(f"{self.scheme}://{self.host}/")

    @property
    def host(self) -> str:
        """The host and port that the client asked for."""
        return self.headers.get("host", "")

    @property
    def user_agent(self) -> str:
        """What the client calls itself."""
        return self.headers.get("user-agent", "")[:300]

    @property
    def subprotocol(self) -> str | None:
        """The offered subprotocol that carries a token, to be echoed."""
        return self._offered(SUBPROTOCOL) or self._offered(RESUME_SUBPROTOCOL)

    @property
    def token(self) -> str | None:
        """The credential: the Authorization header's, else the query's, else a subprotocol's."""
        header = self.headers.get("authorization", "")
        if header.lower().startswith(BEARER):
            return header[len(BEARER) :].strip()
        if token := self.query.get("token"):
            return token
        offer = self._offered(SUBPROTOCOL)
        return offer[len(SUBPROTOCOL) :] if offer else None

    @property
    def resume_token(self) -> str:
        """The resume token that no log sees: the header's, else a subprotocol's; empty where there is none."""
        return self.headers.get(RESUME_HEADER) or (self._offered(RESUME_SUBPROTOCOL) or "")[len(RESUME_SUBPROTOCOL) :]

    def _offered(self, prefix: str) -> str | None:
        return next((offer for offer in self.subprotocols if offer.startswith(prefix)), None)


def client_address(address: str, forwarded_for: str, trusted: tuple[str, ...]) -> str:
    """Return the client's address: behind proxies we trust, the last hop that is none of them."""
    if not trusted or not _within(address, trusted):
        return address
    for hop in reversed(forwarded_for.split(",")):
        found = _hop_address(hop.strip())
        if found is None:  # nobody behind it can be believed
            break
        address = found
        if not _within(address, trusted):
            break
    return address


def client_scheme(scheme: str, forwarded_proto: str, *, address: str, trusted: tuple[str, ...]) -> str:
    """Return the scheme that the client asked by: behind a proxy we trust, what that says, else the connection's."""
    said = forwarded_proto.rpartition(",")[2].strip().lower()  # of several, the nearest proxy's
    return said if said in {"http", "https"} and _within(address, trusted) else scheme


def network_of(address: str) -> str:
    """Return what one host has of the addresses: an IPv4 address, a /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def _hop_address(hop: str) -> str | None:
    """Return the address in a hop, with or without port and brackets; None where there is none."""
    for text in (hop, split_domain_port(hop)[0].strip("[]")):
        with suppress(ValueError):
            return str(ipaddress.ip_address(text))
    return None


def _within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False
