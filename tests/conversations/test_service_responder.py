"""Answers by a service: increments, one end, and the time that it has."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest

from conversations.responders.base import Ask, Courier, PipelineConfig, ResponderError, RouteConfig, ServiceReply
from conversations.responders.service import ANSWER_CHARS, ServiceResponder
from conversations.types import Reply

WEATHER = "/service/zhycit/weather_1"
Step = str | ServiceReply | asyncio.Event


def partial(text: str) -> ServiceReply:
    return ServiceReply(text, partial=True)


class ScriptedCourier(Courier):
    """Brings the replies of a script, waits for its events, and then for ever."""

    def __init__(self, *script: Step, connected: bool = True) -> None:
        self.script = script
        self.connected = connected
        self.asked: list[tuple[str, str]] = []
        self.closed = False

    async def is_connected(self, service: str) -> bool:
        return self.connected

    async def ask(self, service: str, question: str) -> AsyncGenerator[ServiceReply, None]:
        self.asked.append((service, question))
        try:
            for step in self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield ServiceReply(step) if isinstance(step, str) else step
            await asyncio.Event().wait()
        finally:
            self.closed = True


def ask(*, timeout: float = 5.0, deadline: float = float("inf")) -> Ask:
    route = RouteConfig(kind="service", service=WEATHER, timeout=timeout)
    config = PipelineConfig(
        id=1, uuid=uuid4(), name="Shop", description="", is_default=True, failure_text="",
        group_reply="mentioned", group_prefix="ai", public=False, routes=(route,),
    )  # fmt: skip
    return Ask("北京天气？", "zh-hans", config, route, deadline)


async def said(courier: ScriptedCourier, question: Ask | None = None) -> list[str]:
    """Return what the responder says before its Reply."""
    *texts, reply = [part async for part in ServiceResponder(courier).answer(question or ask())]
    assert reply == Reply()
    return [str(text) for text in texts]


async def failure(courier: ScriptedCourier, question: Ask | None = None) -> tuple[list[str], str]:
    """Return what the responder says before it fails, and why it does."""
    texts: list[str] = []

    async def listen() -> None:
        async for part in ServiceResponder(courier).answer(question or ask()):
            texts.append(str(part))  # noqa: PERF401  what was said before the failure counts

    with pytest.raises(ResponderError) as error:
        await listen()
    return texts, str(error.value)


async def test_the_first_reply_is_the_answer() -> None:
    courier = ScriptedCourier("北京：晴", "上海：雨")
    assert await said(courier) == ["北京：晴"]
    assert courier.asked == [(WEATHER, "北京天气？")]
    assert courier.closed


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([partial("北京："), partial("晴"), "。"], ["北京：", "晴", "。"]),
        ([partial("北京："), partial("晴"), "北京：晴，25°C"], ["北京：", "晴", "，25°C"]),
        ([partial("北京："), partial("晴"), "北京：晴"], ["北京：", "晴"]),
        ([partial("北京："), partial("晴"), ""], ["北京：", "晴"]),
        ([partial(""), partial("晴"), "。"], ["晴", "。"]),
        ([partial("晴"), partial("晴"), "晴晴"], ["晴", "晴"]),
        ([partial(""), "晴"], ["晴"]),
    ],
)
async def test_partial_replies_are_told_as_they_come_and_nothing_twice(script: list[Step], expected: list[str]) -> None:
    assert await said(ScriptedCourier(*script)) == expected


async def test_who_is_not_connected_is_not_asked() -> None:
    courier = ScriptedCourier("never", connected=False)
    assert await failure(courier) == ([], f"{WEATHER} is not connected")
    assert courier.asked == []


async def test_a_service_that_says_nothing_is_left() -> None:
    courier = ScriptedCourier()
    assert await failure(courier, ask(timeout=0.05)) == ([], f"{WEATHER} did not answer in time")
    assert courier.closed


async def test_a_service_has_the_same_time_between_two_parts() -> None:
    courier = ScriptedCourier(partial("北京："), asyncio.Event())
    assert await failure(courier, ask(timeout=0.05)) == (["北京："], f"{WEATHER} stalled in the middle of its answer")
    assert courier.closed


async def test_the_time_of_a_part_begins_with_the_part_before() -> None:
    class Slow(ScriptedCourier):
        async def ask(self, service: str, question: str) -> AsyncGenerator[ServiceReply, None]:
            for _ in range(20):
                await asyncio.sleep(0.05)
                yield partial("晴")
            yield ServiceReply("晴")

    # Far more than one pause, which a busy machine makes longer, and less than all of them.
    assert len(await said(Slow(), ask(timeout=0.8))) == 21


async def test_no_service_gets_more_time_than_the_turn_has() -> None:
    question = ask(timeout=30, deadline=asyncio.get_running_loop().time() + 0.05)
    assert await failure(ScriptedCourier(), question) == ([], f"{WEATHER} did not answer in time")


@pytest.mark.parametrize("script", [[""], [partial(""), ""]])
async def test_an_empty_answer_is_none(script: list[Step]) -> None:
    assert await failure(ScriptedCourier(*script)) == ([], f"{WEATHER} answered with nothing")


async def test_an_answer_without_end_breaks_off() -> None:
    word = "x" * (ANSWER_CHARS // 4)
    texts, reason = await failure(ScriptedCourier(*[partial(word)] * 5))
    assert len(texts) == 4
    assert "did not end within" in reason


async def test_leaving_early_ends_the_conversation() -> None:
    courier = ScriptedCourier(partial("北京："), asyncio.Event())
    answer = ServiceResponder(courier).answer(ask())
    assert await anext(answer) == "北京："
    await answer.aclose()
    assert courier.closed
