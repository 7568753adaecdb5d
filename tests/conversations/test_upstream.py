"""The outgoing client: what it may reach, and what it never does."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest

from conversations.responders.upstream import LOOKUPS, CheckedBackend, ForbiddenAddress, is_public, open_client
from tests.faults.model import FakeModel, Mode, closed_port
from tests.support.tls import self_signed

PATIENCE = 20.0  # seconds


class Recorder(httpcore2.AsyncNetworkBackend):
    """A backend that notes where it was sent; addresses in `dead` do not answer."""

    def __init__(self, dead: Iterable[str] = ()) -> None:
        self.dead = set(dead)
        self.reached: list[tuple[str, float | None]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        *_: object,
        **__: object,
    ) -> httpcore2.AsyncNetworkStream:
        self.reached.append((host, timeout))
        if host in self.dead:
            raise httpcore2.ConnectError("dead")
        return httpcore2.AsyncMockStream([])


def resolving_to(*addresses: str) -> Callable[..., Sequence[tuple[Any, ...]]]:
    """Return a resolver to which every name has these addresses."""

    def resolve(_: str, port: int, **__: int) -> Sequence[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::",
        "169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fec0::1",
        "224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:168.63.129.16", "2002:7f00:1::", "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::1", "2001:0:1::1", "::127.0.0.1",
    ],
)  # fmt: skip
def test_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "172.15.0.1", "172.32.0.1", "169.253.0.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_address_outside_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "[::ffff:127.0.0.1]", "0"])
async def test_private_host_is_refused_before_any_connection(host: str) -> None:
    async with FakeModel() as model, open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress):
            await client.get(f"http://{host}:{model.port}/")
    assert model.connections == 0


async def test_private_host_is_reached_when_allowed() -> None:
    async with FakeModel() as model, open_client(allow_private=True) as client:
        response = await client.post(f"{model.base_url(Mode.PLAIN_JSON)}/chat/completions", json={})
    assert response.status_code == 200


async def test_connection_goes_to_the_address_that_was_checked() -> None:
    resolve = resolving_to("10.0.0.1", "1.1.1.1", "127.0.0.1", "1.1.1.1")
    recorder = Recorder()
    await CheckedBackend(allow_private=False, inner=recorder, resolve=resolve).connect_tcp("models.example", 443)
    assert recorder.reached == [("1.1.1.1", None)]


async def test_next_address_is_tried_within_the_time_that_is_left() -> None:
    resolve = resolving_to("1.1.1.1", "2606:4700::1", "8.8.8.8")
    recorder = Recorder(dead={"1.1.1.1", "2606:4700::1"})
    backend = CheckedBackend(allow_private=False, inner=recorder, resolve=resolve)
    await backend.connect_tcp("models.example", 443, timeout=3.0)
    assert [host for host, _ in recorder.reached] == ["1.1.1.1", "2606:4700::1", "8.8.8.8"]
    shares = [share for _, share in recorder.reached]
    assert shares == pytest.approx([1.0, 1.5, 3.0], abs=0.1)


async def test_every_address_dead_is_a_connect_error() -> None:
    dead = Recorder(dead={"1.1.1.1"})
    backend = CheckedBackend(allow_private=False, inner=dead, resolve=resolving_to("1.1.1.1"))
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("models.example", 443)


async def test_name_that_resolves_too_slowly_is_a_connect_timeout_and_holds_up_no_other() -> None:
    answered = threading.Event()

    def resolve(host: str, port: int, **more: int) -> Sequence[tuple[Any, ...]]:
        if host.startswith("silent"):
            answered.wait(PATIENCE)
        return resolving_to("1.1.1.1")(host, port, **more)

    recorder = Recorder()
    backend = CheckedBackend(allow_private=False, inner=recorder, resolve=resolve)
    silent = [f"silent-{number}.example" for number in range(LOOKUPS - 1)]
    try:
        for host in silent:
            with pytest.raises(httpcore2.ConnectTimeout):
                await backend.connect_tcp(host, 443, timeout=0.01)
        await backend.connect_tcp("models.example", 443, timeout=PATIENCE)
        assert not answered.is_set()
    finally:
        answered.set()
    assert [host for host, _ in recorder.reached] == ["1.1.1.1"]


async def test_unknown_name_is_a_connect_error() -> None:
    def resolve(*_: object, **__: object) -> Sequence[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(httpcore2.ConnectError):
        await CheckedBackend(allow_private=True, resolve=resolve).connect_tcp("models.invalid", 443)


async def test_closed_port_is_a_connect_error() -> None:
    async with open_client(allow_private=True) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"http://127.0.0.1:{closed_port()}/")


async def test_redirect_is_not_followed() -> None:
    async with FakeModel() as model, open_client(allow_private=True) as client:
        response = await client.post(f"{model.base_url(Mode.REDIRECT)}/chat/completions", json={})
    assert response.status_code == 307
    assert len(model.calls) == 1


async def test_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    async with FakeModel() as model, open_client(allow_private=True) as client:
        await client.post(f"{model.base_url(Mode.PLAIN_JSON)}/chat/completions", json={})
    assert len(model.calls) == 1


async def test_connection_is_kept_for_the_next_call() -> None:
    async with FakeModel() as model, open_client(allow_private=True) as client:
        for _ in range(3):
            await client.post(f"{model.base_url(Mode.PLAIN_JSON)}/chat/completions", json={})
    assert (len(model.calls), model.connections) == (3, 1)


async def test_tls_verifies_the_name_and_not_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, trusting = self_signed("localhost", tmp_path)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    # The refused handshake below is reported by asyncio's server as well.
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    async with await asyncio.start_server(respond, "127.0.0.1", 0, ssl=serving) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_client(allow_private=True, verify=trusting) as client:
            assert (await client.get(f"https://localhost:{port}/")).text == "ok"
            with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
                await client.get(f"https://127.0.0.1:{port}/")
