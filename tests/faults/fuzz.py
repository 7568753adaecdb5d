"""Send a running gateway what is wrong, over all five wires: `python -m tests.faults.fuzz PORT LOG --frames 100000`.

All of it follows from the seed: conversation N of a seed is always the same, so `--only N` has it once more. What came
of it is printed as JSON: how much was sent, and each conversation that went other than it may.
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.faults import wrongs
from tests.faults.mutations import mutated
from tests.faults.raw import BINARY, CLOSE, TEXT, Peer, frame
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.frames import client_frames

SMALL = 64 * 1024  # MAX_SMALL_FRAME_BYTES
AT_ONCE = 8  # conversations
MANY = 10  # failures; more tell nothing new
# What a gateway may end a conversation with that keeps the rules of WebSocket: `disconnect`, too many refused frames, a
# session that is not the client's, too many of the questions that wait.
ALLOWED = frozenset({1000, 1008, 4003, 4129})
TROUBLE = (b"Traceback", b"[error", b"[critical")
PIPELINE = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws"
ODD_QUERIES = (
    "",
    "\x00",
    "\udcff",
    "%",
    "%zz",
    "%00",
    "%ed%a0%80",
    "1e9",
    "-1",
    "9" * 30,
    "字",
    "a" * 400,
    "..",
    "&",
    "=",
)
SOCKETS = {
    "langbot": (f"{PIPELINE}/connect?session_type=person", f"{PIPELINE}/connect?session_type=group&session_id=fuzz"),
    "postoffice": ("/?clientID=fuzz-{n}", "/postoffice/ws?clientID=fuzz-{n}"),
    "contact": ("/contact", "/contact?stream=1", "/websocket/contact"),
    "wechat": ("/wechat/ws",),
}
QUERIES = (
    "session_type",
    "session_id",
    "resume_token",
    "last_seq",
    "clientID",
    "client_id",
    "token",
    "stream",
    "language",
)
CALLS = {
    "yishiting": (("POST", "/chat"), ("POST", "/chat/sync"), ("POST", "/chat/async"), ("GET", "/chat/async/{odd}")),
    "wechat": (("POST", "/wechat/login"), ("POST", "/wechat/chat"), ("GET", "/wechat/health?{odd}")),
    "postoffice": (("POST", "/wecom/token"), ("GET", "/wecom/token?appid={odd}&secret={odd}")),
    "langbot": (
        ("GET", f"{PIPELINE}/messages/person?session_id={{odd}}&limit={{odd}}"),
        ("POST", f"{PIPELINE}/reset/group?session_id={{odd}}"),
        ("POST", f"{PIPELINE}/broadcast"),
        ("GET", "/api/v1/pipelines/{odd}/ws/connections"),
        ("POST", f"/api/v1/pipelines/{DEFAULT_PIPELINE}/documents"),
    ),
}


# How many of a wire's conversations are HTTP calls; each for a token costs a slow hash, which is its own protection.
HTTP_SHARE = {"yishiting": 1, "wechat": 0.15, "langbot": 0.15, "postoffice": 0.01}


@dataclass
class Fuzzer:
    """Holds conversations with the gateway on `port`, whose log is at `log`."""

    port: int
    log: Path
    seed: int
    frames: int
    pace: float = 0.0  # frames a second; 0 is as fast as it goes
    sent: Counter[str] = field(default_factory=Counter)  # by wire
    ends: Counter[str] = field(default_factory=Counter)  # how conversations ended
    failures: list[str] = field(default_factory=list)
    _going: dict[int, list[str]] = field(default_factory=dict)  # what each conversation has sent so far
    _seen: int = 0  # bytes of the log

    async def run(self, numbers: Iterator[int]) -> None:
        """Hold conversations until enough frames are sent, a few at a time."""
        self._seen = self.log.stat().st_size
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._hold_conversations(numbers))
        self._look_at_log()

    async def _hold_conversations(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            if self.sent.total() >= self.frames or len(self.failures) >= MANY:
                return
            self._going[number] = []
            try:
                await self._converse(number)
            except (AssertionError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self._fail(number, f"{type(error).__name__}: {error}")
            self._look_at_log()
            del self._going[number]
            ahead = self.sent.total() / self.pace - (time.monotonic() - self._begun) if self.pace else 0
            await asyncio.sleep(max(0, ahead))  # the pace that was asked for

    async def _converse(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        wire = chance.choice(("langbot", "postoffice", "contact", "wechat", "yishiting"))
        way = chance.random()
        if way < HTTP_SHARE.get(wire, 0):
            await self._call(chance, number, wire)
        elif way < 0.25:
            await self._upgrade_wrongly(chance, number, wire)
        else:
            await self._talk(chance, number, wire)

    # --- Over a socket ---------------------------------------------------------------------------

    async def _talk(self, chance: random.Random, number: int, wire: str) -> None:
        """Send messages on one socket, then break a rule of WebSocket, leave, or see that it is still served."""
        peer = await Peer.connect(self.port)
        try:
            path = chance.choice(SOCKETS[wire]).format(n=number % 64)
            status = await peer.upgrade(path)
            assert status == 101, f"{status} for {path}"
            frames = client_frames(wire)
            for _ in range(chance.choice((1, 2, 3, 4, 5, 5, 5, 30))):
                self._send(peer, number, wire, self._message(chance, mutated(chance, frames)))
            self._note_end(await self._end(chance, number, wire, peer))
        finally:
            peer.leave(rudely=chance.random() < 0.3)

    def _message(self, chance: random.Random, text: str) -> bytes:
        """Return a message as one frame or as several, mostly of text."""
        data = text.encode()
        opcode = BINARY if chance.random() < 0.1 else TEXT
        if chance.random() < 0.85:
            return frame(opcode, data)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 4)))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        sent = b"".join(
            frame(0 if index else opcode, piece, fin=False) + (wrongs.noise(chance) if chance.random() < 0.2 else b"")
            for index, piece in enumerate(pieces)
        )
        return sent + frame(0, b"")

    async def _end(self, chance: random.Random, number: int, wire: str, peer: Peer) -> str:
        way = chance.random()
        if way < 0.4:
            # Something that the wire's own loop says again, so it has come through all of the above.
            mark = f"mark-{number}"
            sign = _sign(wire, number, mark)
            self._send(peer, number, wire, frame(TEXT, json.dumps(sign).encode()))
            if not await peer.hears(mark.encode()):
                assert peer.closed in ALLOWED, f"closed with {peer.closed} for what keeps the rules"
            return f"closed {peer.closed}" if peer.closed else "served on"
        if way < 0.8:
            wrong = wrongs.violation(chance, wrongs.LARGEST if wire in ("langbot", "postoffice") else SMALL)
            self._send(peer, number, wire, wrong.data)
            code = await peer.until_closed()
            assert code in wrong.codes | ALLOWED, f"closed with {code} for {wrong.name}"
            return f"closed {code}"
        if way < 0.9:
            self._send(peer, number, wire, frame(CLOSE, chance.choice((b"", b"\x03\xe8", b"\x0f\xa1" + b"x" * 123))))
            code = await peer.until_closed()
            assert code in ALLOWED | {1005, 4001}, f"closed with {code} for a close"
            return "left"
        self._send(peer, number, wire, frame(TEXT, b"half of it", length=chance.choice((50, 500, 70_000))))
        return "left"

    # --- Over HTTP -------------------------------------------------------------------------------

    async def _upgrade_wrongly(self, chance: random.Random, number: int, wire: str) -> None:
        path = chance.choice(SOCKETS[wire]).format(n=number % 64)
        if chance.random() < 0.5:
            odd = quote(chance.choice(ODD_QUERIES), errors="surrogateescape", safe="%&=")
            path += f"{'&' if '?' in path else '?'}{chance.choice(QUERIES)}={odd}"
        peer = await Peer.connect(self.port)
        self._send(peer, number, wire, wrongs.upgrade(chance, path))
        await self._drained(peer)
        self._note_end("half a handshake")

    async def _call(self, chance: random.Random, number: int, wire: str) -> None:
        method, path = chance.choice(CALLS[wire])
        odd = quote(chance.choice(ODD_QUERIES), errors="surrogateescape", safe="%")
        body = b"" if method == "GET" and chance.random() < 0.9 else mutated(chance, client_frames(wire)).encode()
        exchange = wrongs.request(chance, method, path.replace("{odd}", odd), body)
        peer = await Peer.connect(self.port)
        self._send(peer, number, wire, exchange.data)
        if not exchange.ends:
            await self._drained(peer)
            self._note_end("half a request")
            return
        try:
            answer = await peer.rest()
        finally:
            peer.leave()
        status = answer.split(b" ", 2)[1] if answer.startswith(b"HTTP/1.1 ") else b"none"
        assert status.isdigit(), f"no answer to {exchange.name}: {answer[:200]!r}"
        assert status != b"500", f"500 for {exchange.name}"
        self._note_end(f"HTTP {status.decode()}")

    async def _drained(self, peer: Peer) -> None:
        """Leave once everything is on its way."""
        try:
            await peer.writer.drain()
        except OSError:
            pass  # refused before it was read to the end
        finally:
            peer.leave()

    # --- Keeping note ----------------------------------------------------------------------------

    def _send(self, peer: Peer, number: int, wire: str, data: bytes) -> None:
        self._going[number].append(repr(data[:300]))
        self.sent[wire] += 1
        peer.write(data)

    def _note_end(self, end: str) -> None:
        self.ends[end] += 1

    def _look_at_log(self) -> None:
        """Blame what is in the log now on the conversations that are going on."""
        if self.log.stat().st_size == self._seen:
            return
        with self.log.open("rb") as log:
            log.seek(self._seen)
            new = log.read()
        self._seen += len(new)
        if any(mark in new for mark in TROUBLE):
            for number in self._going:
                self._fail(number, "the log has trouble now")

    def _fail(self, number: int, what: str) -> None:
        sent = "\n  ".join(self._going[number][-40:])
        self.failures.append(f"--seed {self.seed} --only {number}: {what}\n  {sent}")


def _sign(wire: str, number: int, mark: str) -> dict[str, Any]:
    """Return a frame whose answer has `mark` in it."""
    match wire:
        case "langbot":
            return {"type": "message", "message": [{"type": "Plain", "text": mark}]}
        case "postoffice":
            return {"type": "msg", "to": f"fuzz-{number % 64}", "content": mark}
        case _:
            return {"type": mark}


def main() -> None:
    """Fuzz, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=3_000)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    fuzzer = Fuzzer(options.port, options.log, options.seed, options.frames, options.pace)
    asyncio.run(fuzzer.run(count() if options.only is None else iter([options.only])))
    done = {"sent": fuzzer.sent, "ends": dict(fuzzer.ends.most_common()), "failures": fuzzer.failures}
    print(json.dumps(done, ensure_ascii=False, indent=1))  # noqa: T201  what it is for


if __name__ == "__main__":
    main()
