"""Load on the pipeline wire, light enough not to be what is measured; every run is bounded in count and time."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.benchmarks.measuring import cpu_seconds, milliseconds, resident_bytes
from tests.support.clients import DEFAULT_PIPELINE

PATH = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws"
PING = b'{"type":"ping"}'
QUESTION = b'{"type":"message","message":[{"type":"Plain","text":"What can you do?"}]}'
PATIENCE = 30.0
AT_ONCE = 25  # handshakes on the way at the same time


class Peer(WSListener):
    """A socket that hands every frame's bytes to `hear`, which may be replaced."""

    def __init__(self) -> None:
        self.hear: Callable[[bytes], None] = lambda _payload: None
        self.greeted = asyncio.Event()
        self.began = 0.0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif self.greeted.is_set():
            self.hear(frame.get_payload_as_bytes())
        else:
            self.greeted.set()

    def send(self, payload: bytes) -> None:
        self.began = time.perf_counter()
        self.transport.send(WSMsgType.TEXT, payload)


class Load:
    """Runs against the gateway at `url` (http), whose processes are `pids`."""

    def __init__(self, url: str, pids: list[int]) -> None:
        self._url = url
        self._pids = pids

    async def pings(self, connections: int, seconds: float) -> dict[str, Any]:
        """Keep one ping on the way on each connection."""
        peers = await self._open(connections)
        waits: list[float] = []
        running = True

        def answer(peer: Peer) -> Callable[[bytes], None]:
            def hear(_payload: bytes) -> None:
                waits.append(time.perf_counter() - peer.began)
                if running:
                    peer.send(PING)

            return hear

        for peer in peers:
            peer.hear = answer(peer)
            peer.send(PING)
        await asyncio.sleep(0.5)  # warm
        waits.clear()
        used = cpu_seconds(self._pids)
        await asyncio.sleep(seconds)
        used, count = cpu_seconds(self._pids) - used, len(waits)
        running = False
        await self._close(peers)
        return {
            "what": f"ping, {connections} connections",
            "round_trips_per_second": round(count / seconds),
            "round_trips_per_cpu_second": round(count / used),
            **milliseconds(waits),
        }

    async def turns(self, connections: int, seconds: float) -> dict[str, Any]:
        """Let each connection ask, read the whole answer, and ask again."""
        peers = await self._open(connections)
        waits: list[float] = []
        frames = 0
        end = 0.0

        async def ask(peer: Peer) -> None:
            nonlocal frames
            done = asyncio.Event()

            def hear(payload: bytes) -> None:
                nonlocal frames
                frames += payload.startswith(b'{"type":"response"')
                if b'"is_final":true' in payload and b'"role":"assistant"' in payload:
                    done.set()

            peer.hear = hear
            while time.perf_counter() < end:
                peer.send(QUESTION)
                async with asyncio.timeout(PATIENCE):
                    await done.wait()
                waits.append(time.perf_counter() - peer.began)
                done.clear()

        end = time.perf_counter() + 0.5  # warm
        await asyncio.gather(*(ask(peer) for peer in peers))
        waits.clear()
        frames = 0
        used, began = cpu_seconds(self._pids), time.perf_counter()
        end = began + seconds
        await asyncio.gather(*(ask(peer) for peer in peers))
        took, used = time.perf_counter() - began, cpu_seconds(self._pids) - used
        await self._close(peers)
        return {
            "what": f"turns of 20 chunks, {connections} connections",
            "turns_per_second": round(len(waits) / took),
            "turns_per_cpu_second": round(len(waits) / used),
            "cpu_ms_per_turn": round(used / len(waits) * 1000, 2),
            "frames_per_turn": round(frames / len(waits), 1),
            **milliseconds(waits),
        }

    async def broadcasts(self, connections: int, rounds: int) -> dict[str, Any]:
        """Broadcast over REST, one round after another, each until the last socket has it.

        The REST call's own cost is inside the figures, and beside them, measured with nobody listening.
        """
        async with httpx2.AsyncClient(base_url=self._url, trust_env=False) as http:
            for _ in range(20):  # warm
                await self._broadcast(http)
            used = cpu_seconds(self._pids)
            for _ in range(rounds):
                await self._broadcast(http)
            call = (cpu_seconds(self._pids) - used) / rounds
            memory, used = resident_bytes(self._pids), cpu_seconds(self._pids)
            peers = await self._open(connections)
            connecting = cpu_seconds(self._pids) - used
            memory = resident_bytes(self._pids) - memory
            waits: list[float] = []
            missing = 0
            complete = asyncio.Event()

            def hear(_payload: bytes) -> None:
                nonlocal missing
                missing -= 1
                if missing == 0:
                    complete.set()

            for peer in peers:
                peer.hear = hear
            used = cpu_seconds(self._pids)
            for _ in range(rounds):
                missing = connections
                complete.clear()
                began = time.perf_counter()
                async with asyncio.timeout(PATIENCE):
                    await self._broadcast(http)
                    await complete.wait()
                waits.append(time.perf_counter() - began)
            used = cpu_seconds(self._pids) - used
        await self._close(peers)
        return {
            "what": f"broadcast to {connections}, {rounds} rounds",
            "deliveries_per_cpu_second": round(connections * rounds / used),
            "the_same_without_rest_call": round(connections * rounds / (used - call * rounds)),
            "cpu_us_per_delivery": round(used / connections / rounds * 1e6, 2),
            "cpu_ms_per_rest_call": round(call * 1000, 2),
            "connections_per_cpu_second": round(connections / connecting),
            "kib_per_connection": round(memory / connections / 1024, 1),
            **milliseconds(waits),
        }

    async def fanout(self, connections: int, rounds: int) -> dict[str, Any]:
        """Let one socket of the floor speak to all, one round after another, each until the last one has it."""
        peers = await self._open(connections)
        missing = 0
        complete = asyncio.Event()

        def hear(_payload: bytes) -> None:
            nonlocal missing
            missing -= 1
            if missing == 0:
                complete.set()

        for peer in peers:
            peer.hear = hear
        used = cpu_seconds(self._pids)
        for _ in range(rounds):
            missing = connections
            complete.clear()
            peers[0].send(QUESTION)
            async with asyncio.timeout(PATIENCE):
                await complete.wait()
        used = cpu_seconds(self._pids) - used
        await self._close(peers)
        return {
            "what": f"fan-out to {connections}, {rounds} rounds",
            "deliveries_per_cpu_second": round(connections * rounds / used),
            "cpu_us_per_delivery": round(used / connections / rounds * 1e6, 2),
        }

    @staticmethod
    async def _broadcast(http: httpx2.AsyncClient) -> None:
        response = await http.post(f"{PATH}/broadcast", json={"message": "A notice of ordinary length."})
        response.raise_for_status()

    async def _open(self, count: int) -> list[Peer]:
        """Return `count` sockets that have had their first frame."""
        peers: list[Peer] = []
        gate = asyncio.Semaphore(AT_ONCE)
        address = f"{self._url.replace('http', 'ws', 1)}{PATH}/connect?session_type=person"

        async def connect() -> None:
            async with gate, asyncio.timeout(PATIENCE):
                _, peer = await ws_connect(Peer, address)
                assert isinstance(peer, Peer)
                await peer.greeted.wait()
                peers.append(peer)

        await asyncio.gather(*(connect() for _ in range(count)))
        return peers

    @staticmethod
    async def _close(peers: list[Peer]) -> None:
        for peer in peers:
            peer.hear = lambda _payload: None
            peer.transport.send_close()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(peer.transport.wait_disconnected() for peer in peers))
