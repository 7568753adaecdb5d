"""The one outgoing HTTP client: for models, webhooks and WeChat.

`open_client` gives a client that follows no redirect, reads no proxy from the environment, keeps no cookie, holds so
many connections at most, and connects only to addresses it has checked (promise S9). httpx2 takes no network backend,
so `Transport` puts httpcore2's pool, which does, under an httpx2 client; both by their public names.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, cast

import httpcore2
import httpx2

from conversations.responders.network import Stream, StreamBackend

MAX_CONNECTIONS = 256  # of one client; one more call waits as long as its caller lets it
IDLE_CONNECTIONS = 128  # kept open for the next call; every request looks at each of them
IDLE_SECONDS = 30.0
LOOKUPS = 16  # host names that a client looks up at once; the next waits, within the time to connect

# Global by number, yet answered inside a cloud: Azure's host, and the range of Oracle's metadata server.
_CLOUD_HOSTS = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
_NAT64 = IPv6Network("64:ff9b::/96")
_CORE_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
)


class ForbiddenAddress(httpx2.ConnectError):
    """The host has no address that may be connected to; trying again changes nothing."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is on the public internet, also where it carries another address inside."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.teredo is not None:
            return False
    if address.is_multicast or address.is_reserved or any(address in hosts for hosts in _CLOUD_HOSTS):
        return False
    return address.is_global


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Resolve a host, drop the addresses that may not be reached, and connect to one that was checked.

    TLS still verifies the host's name: the pool asks for it by the URL, not by the address.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        inner: httpcore2.AsyncNetworkBackend | None = None,
        resolve: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo,
    ) -> None:
        self._allow_private = allow_private
        self._inner = inner or StreamBackend()
        self._resolve = resolve
        # The loop's own are few, and shared: two receivers of webhooks whose name servers are silent would hold up
        # every lookup of the process, the model's too, for as long as these keep trying.
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of `host` that answers; `timeout` seconds cover the lookup and every try."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        try:
            async with asyncio.timeout_at(end):
                addresses = await self._addresses(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the host name was not resolved in time") from error
        except OSError as error:
            raise httpcore2.ConnectError("the host name cannot be resolved") from error
        failure: Exception | None = None
        for position, address in enumerate(addresses):
            # An equal share each, so that one dead address does not use up the time of those after it.
            share = None if end is None else max(0.0, end - loop.time()) / (len(addresses) - position)
            try:
                return await self._inner.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or ForbiddenAddress("the host has no public address, and ALLOW_PRIVATE_UPSTREAMS is off")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of `host` that may be connected to, in the resolver's order, each once."""
        try:
            found = [str(ip_address(host.strip("[]")))]
        except ValueError:
            look_up = partial(self._resolve, host, port, type=socket.SOCK_STREAM)
            infos = await asyncio.get_running_loop().run_in_executor(self._lookups, look_up)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        return [address for address in found if self._allow_private or is_public(ip_address(address))]


class Transport(httpx2.AsyncBaseTransport):
    """Carry httpx2's requests over a pool of httpcore2."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; the response's stream must be closed by whoever asked."""
        url = request.url
        try:
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except _CORE_ERRORS as error:
            raise _in_httpx2(error) from error
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def read_by(response: httpx2.Response, when: float) -> None:
    """Let a read of the response's body that would wait past `when` (on the loop's clock) raise httpx2.ReadTimeout."""
    cast(Stream, response.extensions["network_stream"]).read_by = when


class _Body(httpx2.AsyncByteStream):
    """A response's bytes as they arrive; closing it early closes the connection."""

    def __init__(self, stream: Any) -> None:  # httpcore2 says: an iterable of either kind
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(aiter(cast(AsyncIterable[bytes], self._stream))) as chunks:  # type: ignore[type-var]  # a generator
                async for chunk in chunks:
                    yield chunk
        except _CORE_ERRORS as error:
            raise _in_httpx2(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _in_httpx2(error: Exception) -> Exception:
    """Return httpx2's exception for one of httpcore2's: they have the same names."""
    kind: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__)
    return kind(str(error))


def open_client(
    *, allow_private: bool, connections: int = MAX_CONNECTIONS, verify: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    """Return a client for calls to others' servers; whoever opens it closes it.

    `allow_private` permits every address (a local model). `verify` replaces the system's trusted certificates.
    It sets no time limits: every call brings its own.
    """
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=verify or httpx2.create_ssl_context(trust_env=False),
        max_connections=connections,
        max_keepalive_connections=IDLE_CONNECTIONS,
        keepalive_expiry=IDLE_SECONDS,
        network_backend=CheckedBackend(allow_private=allow_private),
    )
    return httpx2.AsyncClient(
        transport=Transport(pool),
        trust_env=False,
        follow_redirects=False,
        timeout=None,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        # Compressed, a stream arrives late and costs more than it saves.
        headers={"user-agent": "chat-gateway", "accept-encoding": "identity"},
    )
