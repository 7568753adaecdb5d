"""How event streams are cut, wherever their bytes are split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.responders.openai_events import MAX_EVENT_BYTES, EventStream, EventTooLarge


def events_of(*chunks: bytes) -> list[bytes]:
    stream = EventStream()
    return [event for chunk in chunks for event in stream.feed(chunk)] + stream.end()


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\r\n\n", [b"a"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:  two blanks \n\n", [b" two blanks "]),
        (b": comment\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\n\n\n\n\r\n", [b"a"]),
        (b"data: no end", [b"no end"]),
        (b"data: no blank line\r\n", [b"no blank line"]),
        (b"data: no end\r", [b"no end"]),
        (b"nonsense\n\n", []),
        (b"", []),
    ],
)
def test_events_whatever_the_cuts(raw: bytes, events: list[bytes]) -> None:
    assert events_of(raw) == events
    assert events_of(*(bytes([byte]) for byte in raw)) == events


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)), st.data())
def test_any_cut_gives_the_same_events(texts: list[str], data: st.DataObject) -> None:
    raw = b"".join(f"data: {text}\r\n\r\n".encode() for text in texts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)))))
    chunks = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert events_of(*chunks) == [text.encode() for text in texts]


@pytest.mark.parametrize("part", [b"x" * 4096, b"data: " + b"x" * 4096 + b"\n", b"data:\n" * 1000])
def test_event_without_an_end_is_refused(part: bytes) -> None:
    with pytest.raises(EventTooLarge):
        events_of(*[part] * MAX_EVENT_BYTES)


def test_big_chunk_of_small_events_is_fine() -> None:
    assert len(EventStream().feed(b"data: x\n\n" * MAX_EVENT_BYTES)) == MAX_EVENT_BYTES


def test_event_after_half_an_event_is_one_with_it() -> None:
    assert events_of(b"data: a\n", b"data: b\n\n") == [b"a\nb"]
    assert events_of(b"data", b"data: b\n\n") == []
