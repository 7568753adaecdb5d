import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.knowledge.index import Entry, Index
from conversations.types import Language

WORDS = ["网关", "连接", "redis", "token", "重启", "REDIS_URL", "document", "history"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
# Documents put in, replaced (several passages) and taken out (none), in some order.
CHANGES = st.lists(st.tuples(st.sampled_from("abcdef"), st.lists(TEXTS, max_size=3)), max_size=20)


def entries(document: str, *texts: str, title: str = "", language: Language | None = None) -> list[Entry]:
    return [Entry(document, title, (), text, language) for text in texts]


def made(**documents: str) -> Index:
    return Index().changed((name, entries(name, text)) for name, text in documents.items())


def found(index: Index, question: str, language: Language | None = None) -> list[str]:
    return [match.entry.document for match in index.search(question, language)]


@settings(deadline=None)
@given(CHANGES, TEXTS)
def test_changes_one_by_one_equal_an_index_built_anew(changes: list[tuple[str, list[str]]], question: str) -> None:
    index = Index()
    present: dict[str, list[str]] = {}
    for document, texts in changes:
        present.pop(document, None)
        if texts:
            index = index.changed([(document, entries(document, *texts))])
            present[document] = texts
        else:
            index = index.changed((), [document])
    rebuilt = Index().changed((document, entries(document, *texts)) for document, texts in present.items())
    assert len(index) == len(rebuilt)
    assert index.search(question) == rebuilt.search(question)
    assert index.search(question, "en", 10) == rebuilt.search(question, "en", 10)


def test_a_reader_keeps_the_index_it_has() -> None:
    before = made(a="redis token", b="token")
    after = before.changed([("a", entries("a", "history"))], ["b"])
    assert found(before, "token") == ["b", "a"]
    assert found(after, "token") == []
    assert found(after, "history") == ["a"]
    assert found(before, "history") == []


def test_a_question_that_is_mostly_about_something_else_finds_nothing() -> None:
    index = made(a="connect a client to the gateway", b="restart the gateway")
    assert found(index, "how do I connect a client") == ["a"]
    assert found(index, "how do I connect bluetooth headphones") == []
    assert found(index, "the of and") == []
    assert found(index, "") == []
    assert found(Index(), "gateway") == []


def test_heading_and_title_weigh_more_than_text() -> None:
    index = Index().changed(
        [
            ("text", [Entry("text", "other", ("other",), "backup " * 2 + "filler", None)]),
            ("heading", [Entry("heading", "other", ("backup",), "filler filler filler", None)]),
            ("title", [Entry("title", "backup", ("other",), "backup filler", None)]),
        ]
    )
    assert found(index, "backup")[-1] == "text"


def test_the_question_s_language_is_preferred() -> None:
    index = Index().changed(
        [
            ("en", entries("en", "REDIS_URL REDIS_URL", language="en")),
            ("zh", entries("zh", "REDIS_URL 的 说明 和 例子", language="zh-hans")),
        ]
    )
    assert found(index, "REDIS_URL", "zh-hans") == ["zh", "en"]
    assert found(index, "REDIS_URL", "en") == ["en", "zh"]


def test_parts_find_the_whole_and_the_whole_finds_its_parts() -> None:
    index = made(a="set REDIS_URL here", b="聊天 与 记录")
    assert found(index, "redis") == ["a"]
    assert found(index, "聊天记录") == ["b"]


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_at_most_so_many_matches(limit: int) -> None:
    index = Index().changed((str(number), entries(str(number), "redis")) for number in range(50))
    matches = index.search("redis", None, limit)
    assert len(matches) == limit
    assert [match.entry.document for match in matches] == [str(number) for number in range(limit)]


def test_frequent_words_count_for_passages_that_rare_ones_found() -> None:
    """Words that cannot make a passage relevant by themselves are looked up in those found already."""
    common = [(str(number), entries(str(number), "gateway filler")) for number in range(300)]
    index = Index().changed([*common, ("x", entries("x", "zeppelin")), ("y", entries("y", "zeppelin gateway"))])
    assert found(index, "zeppelin gateway") == ["y", "x"]
    few = Index().changed([*common[:4], ("x", entries("x", "zeppelin")), ("y", entries("y", "zeppelin gateway"))])
    assert found(few, "zeppelin gateway") == ["y", "x"]
