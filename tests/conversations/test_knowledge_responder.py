"""Answers from documents: what is said, in which language, and from where."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from conversations import phrases, services
from conversations.library import Library
from conversations.models import Pipeline
from conversations.responders.base import Ask, PipelineConfig, Responder, RouteConfig
from conversations.responders.knowledge import KnowledgeResponder
from conversations.types import Language, Reply, SourceLine

PRODUCT = Path(__file__).parents[2] / "docs" / "product"


@pytest.fixture
def pipeline(db: None) -> UUID:
    return Pipeline.objects.create(name="Shop").uuid


@pytest.fixture
def library(pipeline: UUID) -> Library:
    """A library with the product's own documents."""
    services.load_folder(pipeline, "product", PRODUCT)
    library = Library()
    library.refresh()
    return library


def ask(pipeline: UUID, question: str, language: Language = "zh-hans", *, called: bool | None = None) -> Ask:
    route = RouteConfig(kind="knowledge")
    config = PipelineConfig(
        id=1, uuid=pipeline, name="Shop", description="", is_default=True, failure_text="",
        group_reply="mentioned", group_prefix="ai", public=False, routes=(route,),
    )  # fmt: skip
    return Ask(question, language, config, route, deadline=float("inf"), called=called)


async def collect(responder: Responder, question: Ask) -> tuple[list[str], Reply]:
    *texts, reply = [part async for part in responder.answer(question)]
    assert isinstance(reply, Reply)
    assert all(isinstance(text, str) and text for text in texts)
    return [str(text) for text in texts], reply


async def test_an_answer_is_the_passage_and_its_source_in_several_pieces(library: Library, pipeline: UUID) -> None:
    texts, reply = await collect(KnowledgeResponder(library), ask(pipeline, "如何载入文档到知识库？", "en"))
    answer = "".join(texts)
    assert len(texts) > 3
    assert answer.startswith("把文档放在一个文件夹里")
    assert "来源：《知识库》 › 如何载入文档到知识库" in answer
    assert reply.known
    citation = reply.citations[0]
    assert (citation.title, citation.space_id) == ("知识库", "product")
    assert citation.score > 0


async def test_an_english_question_is_answered_in_english(library: Library, pipeline: UUID) -> None:
    texts, reply = await collect(KnowledgeResponder(library), ask(pipeline, "How do I back up the data?"))
    answer = "".join(texts)
    assert "pg_dump" in answer
    assert "Source: Configuration › How to back up the data" in answer
    assert [citation.title for citation in reply.citations] == ["Configuration"]


async def test_the_session_s_language_decides_where_the_question_shows_none(library: Library, pipeline: UUID) -> None:
    english, _ = await collect(KnowledgeResponder(library), ask(pipeline, "4001?", "en"))
    chinese, _ = await collect(KnowledgeResponder(library), ask(pipeline, "4001?", "zh-hans"))
    assert "Source:" in "".join(english)
    assert "来源：" in "".join(chinese)


@pytest.mark.parametrize(
    ("question", "opening", "topic"),
    [
        ("今天北京天气怎么样？", "抱歉，这个问题我不知道", "《知识库》"),
        ("How do I open a bank account?", "Sorry, I don't know", "Knowledge base"),
        ("???", "抱歉，这个问题我不知道", "《知识库》"),
        ("[Image]", "抱歉，我看不了附件", "《知识库》"),
        ("[File] [Image]", "抱歉，我看不了附件", "《知识库》"),
    ],
)
async def test_a_question_that_nothing_matches(
    library: Library, pipeline: UUID, question: str, opening: str, topic: str
) -> None:
    texts, reply = await collect(KnowledgeResponder(library), ask(pipeline, question))
    answer = "".join(texts)
    assert answer.startswith(opening)
    assert topic in answer
    assert reply == Reply(known=False)


@pytest.mark.parametrize(
    ("question", "opening"),
    [
        ("你好", "你好！"),
        ("你好呀！", "你好！"),
        ("您好，请问在吗？", "你好！"),
        ("你能做什么？", "你好！"),
        ("谢谢你！", "不客气！"),
        ("hi", "Hello!"),
        ("Hello there!", "Hello!"),
        ("What can you do?", "Hello!"),
        ("Thanks a lot!", "You are welcome!"),
        ("Hi, thank you very much", "You are welcome!"),
    ],
)
async def test_greetings(library: Library, pipeline: UUID, question: str, opening: str) -> None:
    texts, reply = await collect(KnowledgeResponder(library), ask(pipeline, question))
    assert "".join(texts).startswith(opening)
    assert reply == Reply(known=True)


@pytest.mark.parametrize("question", ["你好，怎么启动服务？", "Hi, how do I start the server?", "history of this chat"])
async def test_a_question_behind_a_greeting_is_a_question(library: Library, pipeline: UUID, question: str) -> None:
    _, reply = await collect(KnowledgeResponder(library), ask(pipeline, question))
    assert reply.citations


@pytest.mark.parametrize(
    ("question", "called", "said"),
    [
        ("转人工", False, phrases.NOBODY_TO_CALL["zh-hans"]),
        ("转人工", True, phrases.CALLED["zh-hans"]),
        ("I want to talk to a human", False, phrases.NOBODY_TO_CALL["en"]),
        ("I want to talk to a human", True, phrases.CALLED["en"]),
    ],
)
async def test_who_only_asks_for_a_person_hears_whether_one_was_told(
    library: Library, pipeline: UUID, question: str, called: bool, said: str
) -> None:
    texts, reply = await collect(KnowledgeResponder(library), ask(pipeline, question, called=called))
    assert texts == [said]
    assert reply == Reply(known=called)


@pytest.fixture
def shop(pipeline: UUID) -> Library:
    services.save_document(pipeline, title="常见问题", text="# 常见问题\n\n## 人工客服\n\n请拨打 400-000。")
    services.save_document(pipeline, title="工作", text="# 工作\n\n## 排班\n\n人工客服周一值班，人工客服周二休息。")
    library = Library()
    library.refresh()
    return library


async def test_a_passage_headed_by_how_to_reach_a_person_answers_who_asks_for_one(
    shop: Library, pipeline: UUID
) -> None:
    texts, reply = await collect(KnowledgeResponder(shop), ask(pipeline, "转人工客服", called=False))
    assert "".join(texts) == "请拨打 400-000。\n\n来源：《常见问题》 › 人工客服"
    assert reply.known
    texts, _ = await collect(KnowledgeResponder(shop), ask(pipeline, "转人工客服", called=True))
    assert texts == [phrases.CALLED["zh-hans"]]


async def test_without_documents(pipeline: UUID) -> None:
    library = Library()
    for question in ("你好", "怎么启动服务？"):
        texts, _ = await collect(KnowledgeResponder(library), ask(pipeline, question))
        assert "".join(texts).endswith("这里还没有载入任何文档。")
    _, reply = await collect(KnowledgeResponder(library), ask(uuid4(), "How do I start?"))
    assert not reply.known


@pytest.fixture
def zebras(pipeline: UUID) -> Library:
    services.save_document(pipeline, title="A", text="# A\n\n## x\n\nzebra stripes\n\n## y\n\nzebra stripes")
    services.save_document(pipeline, title="B", text="zebra stripes", url="https://a.test/b")
    library = Library()
    library.refresh()
    return library


async def test_passages_nearly_as_good_are_told_too_and_a_document_is_cited_once(
    zebras: Library, pipeline: UUID
) -> None:
    texts, reply = await collect(KnowledgeResponder(zebras), ask(pipeline, "zebra stripes"))
    answer = "".join(texts)
    assert answer.count("zebra stripes") == 3
    assert "Source: A › x" in answer
    assert "Source: B (https://a.test/b)" in answer
    assert sorted(citation.title for citation in reply.citations) == ["A", "B"]


async def test_what_only_names_a_source_is_told_apart(zebras: Library, pipeline: UUID) -> None:
    *parts, reply = [part async for part in KnowledgeResponder(zebras).answer(ask(pipeline, "zebra stripes"))]
    assert isinstance(reply, Reply)
    lines = [part for part in parts if isinstance(part, SourceLine)]
    assert sorted(lines) == ["\n\nSource: A › x", "\n\nSource: A › y", "\n\nSource: B (https://a.test/b)"]
    assert {line.doc_id for line in lines} == {citation.doc_id for citation in reply.citations}
    rest = "".join(str(part) for part in parts if not isinstance(part, SourceLine))
    assert rest == "\n\n".join(["zebra stripes"] * 3)


async def test_a_very_long_question_is_no_trouble(library: Library, pipeline: UUID) -> None:
    _, reply = await collect(KnowledgeResponder(library), ask(pipeline, "天气和足球" * 100_000))
    assert not reply.known
