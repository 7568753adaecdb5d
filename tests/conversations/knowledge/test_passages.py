import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.knowledge import passages
from conversations.knowledge.passages import MAX_CODE, MAX_PASSAGE, Passage

ANY = st.text(alphabet="ab文字。. #`-=\n", max_size=60)
PLAIN = st.text(alphabet="ab文字。. !\n", max_size=200)


def test_sections_carry_the_headings_that_lead_to_them() -> None:
    text = "# Title\n\nIntro.\n\n## One\n\nFirst.\n\n### Deep\n\nSecond.\n\n## Two ##\nThird.\n"
    assert passages.split(text, "Title") == [
        Passage((), "Intro."),
        Passage(("One",), "First."),
        Passage(("One", "Deep"), "Second."),
        Passage(("Two",), "Third."),
    ]


def test_a_heading_that_is_not_the_title_is_kept() -> None:
    assert passages.split("# Chapter\n\nText", "Book") == [Passage(("Chapter",), "Text")]


def test_underlined_headings() -> None:
    assert passages.split("Title\n=====\n\nPart\n----\nText\n", "Title") == [Passage(("Part",), "Text")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# `make` [run](https://example.com) *now*\n", "make run now"),
        ("\ufeff# BOM\r\ntext", "BOM"),
        ("no heading", ""),
        ("```\n# a comment\n```\n## After", "After"),
        ("---\ntitle: x\n---\n# Real\n", "Real"),
    ],
)
def test_first_heading(text: str, expected: str) -> None:
    assert passages.first_heading(text) == expected


def test_plain_text_is_split_at_paragraphs() -> None:
    paragraph = "word " * 100
    found = passages.split("\n\n".join([paragraph] * 4))
    assert len(found) == 4
    assert all(passage.text == paragraph.strip() for passage in found)


def test_a_code_block_is_never_split() -> None:
    code = "```python\n" + "\n\n".join(f"line_{n} = {n}  # comment" for n in range(100)) + "\n```"
    found = passages.split(f"# T\n\nBefore.\n\n{code}\n\nAfter.", "T")
    assert len(code) > MAX_PASSAGE
    assert [passage.text for passage in found] == ["Before.", code, "After."]


def test_a_listing_beyond_all_bounds_is_cut_at_its_lines_and_fenced_again() -> None:
    lines = [f"{n:010}" for n in range(3000)]
    found = [passage.text for passage in passages.split("~~~\n" + "\n".join(lines) + "\n~~~")]
    assert len(found) > 1
    assert all(text.startswith("~~~\n") and text.endswith("\n~~~") for text in found)
    assert [line for text in found for line in text.split("\n")[1:-1]] == lines


def test_a_fence_that_nothing_closes_is_text() -> None:
    assert passages.split("```\ntext\n\n# Heading\n\nmore") == [
        Passage((), "```\ntext"),
        Passage(("Heading",), "more"),
    ]


def test_a_long_paragraph_is_cut_after_sentences() -> None:
    sentence = "这是一个完整的句子，它有一些字。"
    found = [passage.text for passage in passages.split(sentence * 200)]
    assert "".join(found) == sentence * 200
    assert all(text.endswith("。") and len(text) <= MAX_PASSAGE for text in found)


@given(st.lists(ANY, max_size=20).map("\n".join))
def test_passages_are_bounded(text: str) -> None:
    assert all(0 < len(passage.text) <= MAX_CODE + 100 for passage in passages.split(text))


@given(st.lists(PLAIN, max_size=40).map("\n".join))
def test_plain_text_loses_no_letter(text: str) -> None:
    found = passages.split(text)
    assert "".join("".join(passage.text for passage in found).split()) == "".join(text.split())
    assert all(len(passage.text) <= MAX_PASSAGE + 40 for passage in found)


@given(st.text())
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(passages.sentences(text)) == text
