"""The state that the chat's page keeps of a conversation, told of by frames; it needs no page."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.browser import served
from tests.support.environment import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

MODULE = ROOT / "chatgateway" / "static" / "chatgateway" / "chat" / "conversation.js"
RUN = """async ([steps]) => {
    const { Conversation } = await import("/conversation.js");
    const conversation = new Conversation();
    const seen = steps.map(([name, ...values]) =>
        typeof conversation[name] === "function" ? conversation[name](...values) : conversation[name]);
    return [seen, conversation.lines().map(({ text, state }) => state ? `${text} (${state})` : text)];
}"""
NOW = "2026-05-01T12:00:00.000+00:00"


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    with served({"/": "<p>", "/conversation.js": MODULE.read_text(encoding="utf-8")}) as base:
        page = await browser.new_page()
        await page.goto(base)
        yield page
        await page.close()


async def after(page: Page, *steps: list[Any]) -> tuple[list[Any], list[str]]:
    """Return what each step gave, and the lines that are to be seen then."""
    seen, lines = await page.evaluate(RUN, [list(steps)])
    return seen, lines


def said(id_: int, text: str, *, by: str = "", final: bool = True, **more: Any) -> dict[str, Any]:
    """Return a message's data: the visitor's, or with `by` somebody else's."""
    data = {"id": id_, "role": "assistant" if by else "user", "content": text, "is_final": final, "timestamp": NOW}
    sender = {"sender": {"kind": by, "name": "Ann"}} if by in ("operator", "notice") else {}
    return {**data, "message_chain": [{"type": "Plain", "text": text}], **sender, **more}


def typed(id_: str, text: str) -> dict[str, Any]:
    return {"id": id_, "chain": [{"type": "Plain", "text": text}], "at": 0}


async def test_an_answer_stands_below_its_question_and_is_over_when_it_is(page: Page) -> None:
    _, lines = await after(
        page,
        ["hear", said(1, "one?", seq=1)],
        ["hear", said(2, "o", by="bot", final=False)],
        ["hear", said(3, "two?", seq=2)],
        ["hear", said(2, "one!", by="bot", seq=3)],
        ["hear", said(2, "one!", by="bot", seq=3)],  # replayed
        ["hear", said(2, "on", by="bot", final=False)],  # late
        ["hear", said(4, "two!", by="bot", seq=4)],
    )
    assert lines == ["one?", "one!", "two?", "two!"]


async def test_what_comes_back_is_not_shown_twice(page: Page) -> None:
    _, lines = await after(
        page,
        ["add", typed("a", "mine")],
        ["add", typed("b", "later")],
        ["next"],
        ["hear", said(5, "mine", client_msg_id="a", seq=1)],
    )
    assert lines == ["mine", "later (waiting)"]


async def test_one_is_sent_after_another_and_one_that_fails_holds_none_up(page: Page) -> None:
    (_, _, first, waits, _, second, _, again), lines = await after(
        page,
        ["add", typed("a", "one")],
        ["add", typed("b", "two")],
        ["next"],
        ["next"],
        ["refused", "too long"],
        ["next"],
        ["refused", ""],  # the connection broke
        ["next"],
    )
    assert (first["id"], waits, second["id"], again["id"]) == ("a", None, "b", "b")
    assert lines == ["one (not_sent)", "two (sending)"]


async def test_the_history_takes_the_place_of_what_it_tells_of(page: Page) -> None:
    _, lines = await after(
        page,
        ["hear", said(1, "gone", seq=1)],
        ["hear", said(2, "kept", seq=2)],
        ["hear", said(4, "grows", by="bot", final=False)],
        ["hear", said(3, "came since", seq=4)],
        ["load", [said(2, "kept", seq=2), said(7, "missed", by="bot", seq=3)], 3],
    )
    assert lines == ["kept", "came since", "grows", "missed"]


async def test_the_oldest_go_where_there_are_very_many(page: Page) -> None:
    _, lines = await after(page, *(["hear", said(number, f"m{number}", seq=number)] for number in range(1, 511)))
    assert (len(lines), lines[0], lines[-1]) == (500, "m11", "m510")


async def test_nothing_from_before_a_new_beginning_comes_back(page: Page) -> None:
    (*_, seq), lines = await after(
        page,
        ["hear", said(1, "old?", seq=1)],
        ["hear", said(4, "joined", by="notice", seq=3)],
        ["reset", 3],
        ["hear", said(2, "old", by="bot", final=False)],
        ["hear", said(2, "old!", by="bot", seq=2)],
        ["lastSeq"],
    )
    assert lines == ["joined"]
    assert seq == 3  # so that it is not asked for again


async def test_an_answer_is_awaited_until_it_comes_or_a_person_is_there(page: Page) -> None:
    (_, awaited, late, _, growing, _, _, over, _, _, held), _ = await after(
        page,
        ["hear", said(1, "one?", seq=1), 1000],
        ["answering", 2000],
        ["answering", 1000 + 90_000],
        ["hear", said(2, "o", by="bot", final=False)],
        ["answering", 1000 + 90_000],
        ["hear", said(2, "one!", by="bot", seq=2)],
        ["announce", "Maintenance at ten", 0],
        ["answering", 2000],
        ["hear", said(3, "Ann has joined", by="notice", seq=3)],
        ["hear", said(4, "two?", seq=4), 1000],
        ["answering", 2000],
    )
    assert (awaited, late, growing, over, held) == ("awaited", "", "growing", "", "")


async def test_the_gateway_knows_less_than_was_heard(page: Page) -> None:
    steps = (
        ["hear", said(7, "erased", seq=7)],
        ["reset", 8],
        ["hear", said(8, "lost", seq=8)],
        ["hear", said(9, "grows", by="bot", final=False)],
        ["add", typed("a", "mine")],
    )
    (*_, seq), lines = await after(
        page, *steps, ["rewind", 2], ["load", [said(2, "kept", seq=2)], 2], ["hear", said(3, "new", seq=3)], ["lastSeq"]
    )
    assert lines == ["kept", "new", "grows", "mine (waiting)"]
    assert seq == 3
    (*_, seq), lines = await after(page, *steps, ["rewind", 8], ["lastSeq"])
    assert lines == ["lost", "grows", "mine (waiting)"]
    assert seq == 8


async def test_what_is_gone_is_not_invented_by_a_change(page: Page) -> None:
    _, lines = await after(
        page,
        ["hear", said(1, "answer", by="bot", seq=1)],
        ["change", 1, {"feedback": "up"}],
        ["reset", 2],
        ["change", 1, {"feedback": None}],
    )
    assert lines == []


async def test_words_to_everybody_are_not_kept_for_ever(page: Page) -> None:
    _, lines = await after(page, *(["announce", f"m{number}", 0] for number in range(1, 511)))
    assert (len(lines), lines[0], lines[-1]) == (500, "m11", "m510")
