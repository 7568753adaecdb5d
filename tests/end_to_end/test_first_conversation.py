"""What a newcomer does: start, ask in two languages, kill it in the middle, start again, find everything."""

import itertools

import pytest

from tests.conftest import GatewayFactory
from tests.faults.model import Mode, model_in_thread
from tests.support.clients import PipelineClient, answer
from tests.support.rest import history
from tests.support.server import DatabaseKind, ServerKind

QUESTIONS = [
    ("服务重启以后，聊天记录还在吗？", "来源"),
    ("怎么接入大语言模型？", "OPENAI_BASE_URL"),
    ("How do I load my own documents into the knowledge base?", "load_documents"),
]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_questions_are_answered_streamed_and_still_there_after_a_kill(
    start_gateway: GatewayFactory, server: ServerKind, database: DatabaseKind
) -> None:
    gateway = start_gateway(server=server, database=database)
    async with await PipelineClient.connect(gateway) as client:
        for question, expected in QUESTIONS:
            frames = await client.ask(question)
            assert frames[0]["type"] == "user_message"
            assert frames[0]["data"]["content"] == question
            responses = [frame["data"] for frame in frames[1:]]
            assert len(responses) >= 2, "streamed"
            assert [data["is_final"] for data in responses] == [False] * (len(responses) - 1) + [True]
            assert len({(data["id"], data["timestamp"]) for data in responses}) == 1
            for before, after in itertools.pairwise(responses):
                assert after["content"].startswith(before["content"]), "cumulative"
            assert expected in answer(frames)
            assert responses[-1]["citations"][0]["title"]
        session = client.session_id
    gateway.restart()
    messages = history(gateway, query=f"?session_id={session}")
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3
    assert [message["seq"] for message in messages] == [1, 2, 3, 4, 5, 6]
    assert [message["content"] for message in messages[::2]] == [question for question, _ in QUESTIONS]
    assert all(message["citations"] for message in messages[1::2])


async def test_a_question_nothing_matches_gets_an_honest_answer(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    async with await PipelineClient.connect(gateway) as client:
        frames = await client.ask("今天北京天气怎么样？")
        assert "不知道" in answer(frames)
        assert frames[-1]["data"]["citations"] == []


async def test_a_model_streams_cumulative_frames_and_one_final(start_gateway: GatewayFactory) -> None:
    with model_in_thread() as model:
        gateway = start_gateway(model=model.base_url(Mode.SLOW), environment={"DELTA_INTERVAL": "0.001"})
        async with await PipelineClient.connect(gateway) as client:
            frames = await client.ask("say it")
            texts = [frame["data"]["content"] for frame in frames if frame["type"] == "response"]
            assert len(texts) > 10
            assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
            assert texts[-1].startswith("tok00 tok01")
            assert texts[-1].strip().endswith("tok19")
            assert sum(frame["data"]["is_final"] for frame in frames if frame["type"] == "response") == 1


async def test_a_model_that_is_away_is_replaced_by_the_documents_and_the_answer_says_so(
    start_gateway: GatewayFactory,
) -> None:
    with model_in_thread() as model:
        gateway = start_gateway(model=model.base_url(Mode.UNAUTHORIZED))
        async with await PipelineClient.connect(gateway) as client:
            frames = await client.ask("服务重启以后，聊天记录还在吗？")
            assert answer(frames).startswith("（语言模型暂时不可用")
            assert "来源" in answer(frames)
            assert frames[-1]["data"]["citations"]
