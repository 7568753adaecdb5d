"""What a connection can do wrong beside what it says: WebSocket frames, handshakes and requests against the rules."""

import random
from dataclasses import dataclass

from tests.faults.raw import BINARY, CLOSE, PING, PONG, TEXT, frame, handshake

LARGEST = 1024 * 1024  # MAX_FRAME_BYTES
INVALID_TEXT = (b"\xff", b"\xed\xa0\x80", "字".encode()[:2], b"\xc0\x80", b'{"type":"ping"}\xfe', b"\xf4\x90\x80\x80")


@dataclass(frozen=True)
class Violation:
    """Bytes that end a WebSocket with one of `codes`."""

    name: str
    data: bytes
    codes: frozenset[int]


def violation(chance: random.Random, largest: int) -> Violation:
    """Return something that a WebSocket on a wire with messages of `largest` bytes is closed for."""
    bad = chance.choice(INVALID_TEXT)
    size = largest + 1
    whole = b"x" * size if largest < LARGEST else b""  # of a frame that is too large by its head no more is needed
    name, data, *codes = chance.choice(
        (
            ("invalid UTF-8", frame(TEXT, bad), 1007),
            ("invalid UTF-8 in pieces", frame(TEXT, bad[:1], fin=False) + frame(0, bad[1:] or b"\x80"), 1007),
            ("a reserved opcode", frame(chance.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), b"x"), 1002),
            ("reserved bits", frame(TEXT, b"{}", reserved=chance.randint(1, 7)), 1002),
            ("an unmasked frame", frame(TEXT, b"{}", masked=False), 1002),
            ("a continuation of nothing", frame(0, b"{}", fin=chance.random() < 0.5), 1002),
            ("a message within a message", frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
            ("a long ping", frame(PING, b"x" * 126), 1002),
            ("a ping in pieces", frame(PING, b"x", fin=False) + frame(0, b"x"), 1002),
            ("too large", frame(TEXT, whole, length=size), 1009),
            ("far too large", frame(BINARY, b"", length=2 ** chance.randint(31, 62)), 1009),
            ("too large in pieces", frame(TEXT, b"x" * largest, fin=False) + frame(0, b"xx"), 1009),
            ("a length of 64 bits", frame(TEXT, b"", length=2**64 - 1), 1002, 1009),
            ("a close of one byte", frame(CLOSE, b"\x03"), 1002),
            ("a close with no such code", frame(CLOSE, chance.choice((b"\x03\xe7", b"\x03\xed", b"\xff\xff"))), 1002),
            ("a close in invalid UTF-8", frame(CLOSE, b"\x03\xe8\xff\xfe"), 1007, 1002),
        )
    )
    return Violation(name, data, frozenset(codes))


def noise(chance: random.Random) -> bytes:
    """Return frames that are allowed anywhere and mean nothing."""
    return chance.choice(
        (frame(PING, b""), frame(PONG, b"unasked"), frame(PONG, b"12345678"), frame(PING, chance.randbytes(125)))
    )


def upgrade(chance: random.Random, path: str) -> bytes:
    """Return a handshake with something wrong in it; some are only half there."""
    whole = handshake(path)
    return chance.choice(
        (
            whole[: chance.randrange(1, len(whole))],
            handshake(path, Sec_WebSocket_Key=chance.choice((None, "", "short", "é" * 8, "A" * 5_000))),
            handshake(path, Sec_WebSocket_Version=chance.choice((None, "", "8", "99", "x"))),
            handshake(path, Upgrade=chance.choice((None, "h2c", "websocket, x", ""))),
            handshake(path, Connection=chance.choice((None, "keep-alive", "Upgrade, Upgrade"))),
            handshake(path, Host=chance.choice((None, "", "evil.example", "a b", "127.0.0.1:99999", "[::1", "\x00"))),
            handshake(
                path, Origin=chance.choice(("null", "https://evil.example", "://", "http://[::1", "\udcff\udcfe"))
            ),
            handshake(
                path, Sec_WebSocket_Protocol=chance.choice(("", ",", "bearer", "bearer, ", "bearer, é", "a" * 9_000))
            ),
            handshake(path, Sec_WebSocket_Extensions=chance.choice(("permessage-deflate", "x; y=", ";;", "a" * 9_000))),
            handshake(
                path, Authorization=chance.choice(("Bearer", "Bearer \udcff", "Basic !!", "Bearer " + "x" * 9_000))
            ),
            handshake(path, Cookie=chance.choice(("sessionid=\udcff", "=;=", "sessionid=" + "x" * 9_000))),
            handshake(path, X=chance.choice(("x" * 70_000, "a\r\n folded", "\x00", "\x7f"))),
            whole + whole,
            whole.replace(b"GET", chance.choice((b"POST", b"get", b"\x00", b"PRI"))),
            whole.replace(b"HTTP/1.1", chance.choice((b"HTTP/1.0", b"HTTP/9.9", b"", b"HTTP"))),
        )
    )


@dataclass(frozen=True)
class Exchange:
    """An HTTP request as bytes; `ends` tells whether the server will answer and end the connection."""

    name: str
    data: bytes
    ends: bool = True


def request(chance: random.Random, method: str, path: str, body: bytes) -> Exchange:
    """Return a request for `body` with, mostly, something wrong in how it is sent."""
    length = len(body)
    wrong = chance.random()
    if wrong < 0.5:
        return Exchange("a body", _request(method, path, body, Content_Length=str(length)))
    if wrong < 0.6:
        kind = chance.choice((None, "", "text/plain", "application/json; charset=utf-16", "multipart/form-data", "x",
                              "application/x-www-form-urlencoded", "multipart/form-data; boundary=\udcff"))  # fmt: skip
        return Exchange(
            "another content type", _request(method, path, body, Content_Length=str(length), Content_Type=kind)
        )
    if wrong < 0.7:
        pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (length, body) if body else b"0\r\n\r\n"
        return Exchange("in chunks", _request(method, path, pieces, Transfer_Encoding="chunked"))
    return _lie(chance, method, path, body)


def _lie(chance: random.Random, method: str, path: str, body: bytes) -> Exchange:
    length = str(len(body))

    def sent(data: bytes = body, **headers: str | None) -> bytes:
        return _request(method, path, data, **headers)

    ended = sent(Content_Length=length)
    return chance.choice(
        (
            Exchange("a longer length", sent(Content_Length=str(len(body) + 10)), ends=False),
            Exchange("a shorter length", sent(b"xx" + body, Content_Length="1")),
            Exchange("no such length", sent(Content_Length=chance.choice(("-1", "x", "1e3", "9" * 30))), ends=False),
            Exchange("two lengths", sent(Content_Length=f"{length}\r\nContent-Length: 1"), ends=False),
            Exchange("a length and chunks", sent(Content_Length=length, Transfer_Encoding="chunked"), ends=False),
            Exchange("a chunk of no size", sent(b"zz\r\n" + body, Transfer_Encoding="chunked"), ends=False),
            Exchange("a chunk without end", sent(b"ffff\r\n" + body, Transfer_Encoding="chunked"), ends=False),
            Exchange("an endless chunk", sent(b"f" * 17 + b"\r\n" + body, Transfer_Encoding="chunked"), ends=False),
            Exchange("another coding", sent(Content_Length=length, Content_Encoding="gzip")),
            Exchange("a continuation asked for", sent(Content_Length=length, Expect="100-continue")),
            Exchange("a huge header", sent(Content_Length=length, X="x" * 70_000), ends=False),
            Exchange("many headers", sent(Content_Length=length, X="\r\nX: ".join("y" * 2_000)), ends=False),
            Exchange(
                "another host", sent(Content_Length=length, Host=chance.choice((None, "", "evil.example", "a b")))
            ),
            Exchange("an origin", sent(Content_Length=length, Origin=chance.choice(("null", "\udcff", "http://[")))),
            Exchange(
                "a credential", sent(Content_Length=length, Authorization=chance.choice(("Bearer \udcff", "x", "")))
            ),
            Exchange("a language", sent(Content_Length=length, Accept=chance.choice(("x", "*/*;q=x", ",,;")))),
            Exchange("many at once", ended.replace(b"Connection: close\r\n", b"") * 5 + ended, ends=False),
            Exchange("half of it", ended[: chance.randrange(len(ended))], ends=False),
            Exchange("another version", ended.replace(b"HTTP/1.1", b"HTTP/9.9"), ends=False),
            Exchange("no request", chance.randbytes(200), ends=False),
            Exchange("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(100), ends=False),
            Exchange(
                "another method", ended.replace(method.encode(), chance.choice((b"PUT", b"PATCH", b"OPTIONS")), 1)
            ),
        )
    )


def _request(method: str, path: str, body: bytes, **more: str | None) -> bytes:
    headers: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Connection": "close",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + body
