"""Answers of a model: streamed as they come, stopped when the caller leaves, asked for once, cut in time."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from conversations import phrases
from tests.conftest import GatewayFactory
from tests.faults.model import WORDS, FakeModel, Mode
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.yishiting import Stream, caller, events, question, text_of

ALL = "".join(WORDS)
LEFT = 2.0  # seconds in which the model call ends after its caller has
CUT = 12.0  # seconds; far from the deadline of a turn, and not yet that of a model that stalls


async def ask(client: httpx2.AsyncClient, body: Mapping[str, Any], path: str = "/chat/sync") -> dict[str, Any]:
    response = await client.post(path, json=body)
    answer: dict[str, Any] = response.json()
    return {"status": response.status_code, **answer}


async def test_the_first_words_leave_before_the_model_has_finished(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.STALL
    async with Stream(answering, question("你好")) as stream:
        await stream.until(b'"response":"tok00 ')
        assert b'"finished":true' not in stream.seen
        assert not model.calls[-1].left_early


async def test_a_stream_tells_all_of_the_answer(answering: GatewayProcess) -> None:
    async with caller(answering) as client:
        response = await client.post("/chat", json=question())
    found = events(response.content)
    assert text_of(found) == ALL
    assert list(found[-1]) == ["response", "finished", "global_output"]
    assert list(found[-1]["global_output"]) == ["urls", "context", "answer_success", "docs"]
    assert found[-1]["global_output"]["answer_success"] == 1
    assert all(event["global_output"]["answer_success"] == 0 for event in found[:-1])


@pytest.mark.parametrize("path", ["/chat", "/chat/sync"])
async def test_a_caller_who_leaves_stops_the_model(answering: GatewayProcess, model: FakeModel, path: str) -> None:
    model.mode = Mode.STALL
    before = len(model.calls)

    async def asked() -> bool:
        return len(model.calls) > before

    async with Stream(answering, question(), path):
        await eventually(asked, timeout=10, what="the model call")
    left = time.monotonic()
    await asyncio.to_thread(model.calls[-1].wait, LEFT)
    assert time.monotonic() - left < LEFT
    assert model.calls[-1].left_early


async def test_what_was_stopped_by_leaving_is_asked_again(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.STALL
    body = question()
    async with Stream(answering, body) as stream:
        await stream.until(b"tok00")
    # Who comes before that joins the answer that is still in progress.
    await asyncio.to_thread(model.calls[-1].wait, LEFT)
    assert model.calls[-1].left_early
    model.mode = Mode.OK
    async with caller(answering) as client:
        answer = await ask(client, body)
    assert (answer["status"], answer["msg_content"]) == (200, ALL)


async def test_one_who_leaves_takes_nothing_from_another(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode, model.delay = Mode.SLOW, 0.1
    body = question()
    before = len(model.calls)
    async with caller(answering) as client:
        async with Stream(answering, body) as first:
            await first.until(b"tok00")
            second = asyncio.create_task(ask(client, body))
            async with Stream(answering, body) as third:
                await third.until(b"tok05")
        answer = await second
    assert answer["msg_content"] == ALL
    assert len(model.calls) == before + 1


async def test_twenty_at_once_are_answered_by_one_model_call(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode, model.delay = Mode.SLOW, 0.05
    body = question("same id")
    before = len(model.calls)
    async with caller(answering) as client:
        answers = await asyncio.gather(*(ask(client, body) for _ in range(10)))
        streams = await asyncio.gather(*(client.post("/chat", json=body) for _ in range(10)))
        stored = await ask(client, body)
    assert {answer["msg_content"] for answer in [*answers, stored]} == {ALL}
    assert {text_of(events(stream.content)) for stream in streams} == {ALL}
    assert len(model.calls) == before + 1
    traces = {answer["third_party_trace_id"] for answer in answers} | {s.headers["x-trace-id"] for s in streams}
    assert len(traces) == 1


async def test_twenty_at_once_over_two_workers_are_one_question_too(
    start_gateway: GatewayFactory, model: FakeModel
) -> None:
    model.mode, model.delay = Mode.SLOW, 0.1
    gateway = start_gateway(workers=2, model=model.base_url())
    body = question("same id")
    before = len(model.calls)

    async def alone() -> str:
        async with caller(gateway) as client:
            return text_of(events((await client.post("/chat", json=body)).content))

    assert set(await asyncio.gather(*(alone() for _ in range(20)))) == {ALL}
    assert len(model.calls) == before + 1


async def test_an_id_used_for_something_else_is_refused(answering: GatewayProcess) -> None:
    body = question()
    async with caller(answering) as client:
        await ask(client, body)
        for path in ("/chat", "/chat/sync", "/chat/async"):
            refused = await ask(client, {**body, "content": "other"}, path)
            assert refused == {"status": 409, "code": 1, "err_msg": "msg_id已用于其他消息"}
        # Of another user, or in another conversation, it is another question.
        assert (await ask(client, {**body, "content": "other", "user": "u2"}))["status"] == 200
        assert (await ask(client, {**body, "content": "other", "session_id": "s2"}))["status"] == 200


async def test_an_answer_that_takes_too_long_is_cut_and_may_be_asked_again(
    answering: GatewayProcess, model: FakeModel
) -> None:
    model.mode = Mode.STALL
    body = question("请慢慢说")
    async with caller(answering) as client:
        began = time.monotonic()
        streamed, whole = await asyncio.gather(
            client.post("/chat", json=body), ask(client, {**question("slowly"), "user": "slow"})
        )
        assert 3.5 < time.monotonic() - began < CUT
        found = events(streamed.content)
        assert text_of(found) == f"{''.join(WORDS[:10])}\n\n{phrases.CUT['zh-hans']}"
        assert found[-1]["global_output"]["answer_success"] == 0
        assert whole["msg_content"].endswith(phrases.CUT["en"])
        model.mode = Mode.OK
        assert (await ask(client, body))["msg_content"] == ALL


async def test_one_who_waits_behind_another_is_cut_in_time_too(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.STALL
    same = {"session_id": "one conversation"}
    async with caller(answering) as client, Stream(answering, question("第一个问题", **same)) as first:
        await first.until(b"tok00")
        began = time.monotonic()
        second = asyncio.create_task(ask(client, question("第二个问题", **same)))
        await first.until(b'"finished":true')
        answer = await second
    assert time.monotonic() - began < CUT
    assert answer["status"] == 200
    assert answer["msg_content"].endswith(phrases.CUT["zh-hans"])


async def test_a_model_that_breaks_off_is_a_fault(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.CUT
    body = question("你好")
    async with caller(answering) as client:
        found = events((await client.post("/chat", json=body)).content)
        assert text_of(found).endswith(phrases.BROKEN_OFF["zh-hans"])
        assert found[-1]["global_output"]["answer_success"] == 0
        failed = await ask(client, question("你好"))
        assert (failed["status"], failed["code"], failed["err_msg"]) == (500, 1, "服务器内部错误")
        model.mode = Mode.OK
        assert (await ask(client, body))["msg_content"] == ALL


async def test_a_follow_up_knows_what_was_said(answering: GatewayProcess, model: FakeModel) -> None:
    async with caller(answering) as client:
        await ask(client, question("my name is Lin", session_id="s-follow"))
        await ask(client, question("what is my name?", session_id="s-follow"))
    said = [message["content"] for message in model.calls[-1].body["messages"]]
    assert any("my name is Lin" in text for text in said)


async def test_an_answer_for_later_is_fetched_by_its_trace(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode, model.delay = Mode.SLOW, 0.1
    body = question()
    async with caller(answering) as client:
        before = len(model.calls)
        taken = await ask(client, body, "/chat/async")
        assert not any(call.is_over for call in model.calls[before:])
        assert list(taken) == ["status", "code", "err_msg", "is_async_response", "third_party_trace_id"]
        assert taken["is_async_response"] is True
        path = f"/chat/async/{taken['third_party_trace_id']}"
        assert (await client.get(path)).json() == {name: taken[name] for name in taken if name != "status"}
        # One who waits for the same answer and leaves does not stop it.
        async with Stream(answering, body) as stream:
            await stream.until(b"tok01")

        async def answered() -> bool:
            return not (await client.get(path)).json()["is_async_response"]

        await eventually(answered, timeout=10, what="the answer")
        answer = (await client.get(path)).json()
        assert answer["msg_content"] == ALL
        assert {**answer, "status": 200} == await ask(client, body)


async def test_one_who_leaves_does_not_stop_what_another_wants_later(
    answering: GatewayProcess, model: FakeModel
) -> None:
    model.mode, model.delay = Mode.SLOW, 0.1
    body = question()
    before = len(model.calls)
    async with caller(answering) as client:
        async with Stream(answering, body) as stream:
            await stream.until(b"tok00")
            taken = await ask(client, body, "/chat/async")
        path = f"/chat/async/{taken['third_party_trace_id']}"

        async def answered() -> bool:
            return not (await client.get(path)).json().get("is_async_response")

        await eventually(answered, timeout=10, what="the answer")
        assert (await client.get(path)).json()["msg_content"] == ALL
    assert len(model.calls) == before + 1


async def test_what_was_stopped_is_no_answer_to_its_trace(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.STALL
    async with caller(answering) as client:
        async with client.stream("POST", "/chat", json=question()) as response:
            trace = response.headers["x-trace-id"]

        async def over() -> bool:
            return not (await client.get(f"/chat/async/{trace}")).json().get("is_async_response")

        await eventually(over, timeout=10, what="the end")
        stopped = await client.get(f"/chat/async/{trace}")
    failed = {"code": 1, "err_msg": "服务器内部错误", "third_party_trace_id": trace}
    assert (stopped.status_code, stopped.json()) == (200, failed)


async def test_what_some_take_for_the_end_of_a_line_is_escaped(answering: GatewayProcess, model: FakeModel) -> None:
    words, model.words = model.words, ("one\u2028two\u2029", "three\x85four\r\nfive\n\n\x1e六🙂")
    try:
        async with caller(answering) as client:
            response = await client.post("/chat", json=question())
    finally:
        model.words = words
    assert text_of(events(response.content)) == "one\u2028two\u2029three\x85four\r\nfive\n\n\x1e六🙂"
    assert "六🙂".encode() in response.content
    assert len(response.text.splitlines()) == response.text.count("\n")


async def test_an_empty_answer_ends_once(answering: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.EMPTY
    async with caller(answering) as client:
        found = events((await client.post("/chat", json=question("zzz qqq"))).content)
    assert text_of(found)
    assert json.dumps(found).count('"finished": true') == 1
