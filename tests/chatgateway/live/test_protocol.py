"""The frames of staff's pages, and everything that is not one."""

import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given

from chatgateway.live.protocol import (
    TOKEN,
    Error,
    Follow,
    GatewayFrame,
    Growing,
    Open,
    OutOfDate,
    PageFrame,
    Ping,
    Pong,
    Ready,
    Stored,
    Watch,
    parse,
    serialise,
)
from integrations.strict import ProtocolError
from tests.support.frames import anything, nearly

SESSION = "9b2e8a54-7a0c-4f6a-9a33-1c5f0d6b7e21"
FROM_PAGES: list[tuple[dict[str, Any], PageFrame]] = [
    ({"type": "open", "token": "n.s"}, Open("n.s")),
    ({"type": "watch", "what": ["connections"]}, Watch(frozenset({"connections"}))),
    (
        {"type": "watch", "what": ["conversations", "connections"]},
        Watch(frozenset({"connections", "conversations"})),
    ),
    ({"type": "watch", "what": []}, Watch(frozenset())),
    ({"type": "follow", "session": SESSION}, Follow(UUID(SESSION))),
    ({"type": "ping"}, Ping()),
]
FROM_GATEWAY: list[tuple[GatewayFrame, dict[str, Any]]] = [
    (Ready(), {"type": "ready"}),
    (OutOfDate("connections"), {"type": "changed", "what": "connections"}),
    (Growing(7, "<p>so far</p>"), {"type": "growing", "turn": 7, "html": "<p>so far</p>"}),
    (Stored(UUID(SESSION), 3), {"type": "stored", "session": SESSION, "seq": 3}),
    (Pong(), {"type": "pong"}),
    (Error("no"), {"type": "error", "message": "no"}),
    (Error("later", 5), {"type": "error", "message": "later", "retry_after": 5}),
]


@pytest.mark.parametrize(("sent", "meant"), FROM_PAGES)
def test_a_page_s_frame_is_read(sent: dict[str, Any], meant: PageFrame) -> None:
    assert parse(json.dumps(sent)) == parse(json.dumps(sent).encode()) == meant


@pytest.mark.parametrize(("frame", "written"), FROM_GATEWAY)
def test_our_frame_is_written(frame: GatewayFrame, written: dict[str, Any]) -> None:
    assert json.loads(serialise(frame)) == written


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", "{}", '{"type":"close"}', '{"type":"open"}', '{"type":"open","token":1}',
        '{"type":"watch","what":["users"]}', '{"type":"watch","what":"connections"}', '{"type":"watch"}',
        '{"type":"follow","session":"1"}', '{"type":"follow"}', '{"type":"follow","session":null}',
        '{"type":"ping","type":"ping"}',
        json.dumps({"type": "open", "token": "t" * (TOKEN + 1)}),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse(text)


@given(anything(nearly([sent for sent, _ in FROM_PAGES])))
def test_whatever_comes_it_is_a_frame_or_refused(data: str | bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(parse(data), PageFrame)
