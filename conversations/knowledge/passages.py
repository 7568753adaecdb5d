"""A document into passages: by heading, bounded in size, code blocks whole. Pure.

Reads Markdown (ATX and underlined headings, fenced code) and plain text, which is Markdown without any of these.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

MAX_PASSAGE = 900  # characters; about what a reader takes in at once, and a paragraph or four
MAX_CODE = 8000  # characters of one code block; a longer one is a listing, and is cut at its lines

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_FRONT_MATTER = re.compile(r"\A---\n(?:\w[\w-]*:.*\n(?:[ \t-].*\n)*)+---\n")
_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?;])\s+")
_MARKUP = re.compile(r"[`*_]+(?=\w)|(?<=\w)[`*]+|\[([^\]]*)\]\([^)]*\)")


class Passage(msgspec.Struct, frozen=True, gc=False):
    """A piece of a document under one heading; `headings` leads to it, the document's title not included."""

    headings: tuple[str, ...]
    text: str


class _Block(msgspec.Struct, frozen=True):
    """A heading (level 1 to 6), a code block or a paragraph (level 0)."""

    text: str
    level: int = 0
    code: bool = False


def first_heading(text: str) -> str:
    """Return the text of the first heading, or nothing."""
    return next((block.text for block in _blocks(text) if block.level), "")


def split(text: str, title: str = "") -> list[Passage]:
    """Return the passages of a document, in order; a first heading that repeats `title` leads to none of them."""
    path: list[tuple[int, str]] = []
    sections: list[tuple[tuple[str, ...], list[_Block]]] = [((), [])]
    for number, block in enumerate(_blocks(text)):
        if not block.level:
            sections[-1][1].append(block)
            continue
        path = [(level, heading) for level, heading in path if level < block.level]
        if not (number == 0 and block.text == title):
            path.append((block.level, block.text))
        sections.append((tuple(heading for _, heading in path), []))
    return [Passage(headings, piece) for headings, blocks in sections for piece in _pack(blocks)]


def sentences(text: str) -> list[str]:
    """Return `text` cut after its sentences and lines; joined, they are `text` again."""
    found: list[str] = []
    for line in text.splitlines(keepends=True):
        ends = [match.end() for match in _SENTENCE_END.finditer(line)]
        bounds = [0, *(end for end in ends if end < len(line)), len(line)]
        found.extend(line[start:end] for start, end in pairwise(bounds) if end > start)
    return found


def _blocks(text: str) -> Iterator[_Block]:
    """Yield headings, code blocks and paragraphs in order."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = _FRONT_MATTER.sub("", text).split("\n")
    closings = _closings(lines)
    paragraph: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        heading = _HEADING.match(line)
        underlined = _UNDERLINE.match(line) if len(paragraph) == 1 else None
        if position in closings:
            yield from _paragraph(paragraph)
            yield _Block("\n".join(lines[position : closings[position] + 1]), code=True)
            position = closings[position]
        elif underlined:
            yield _Block(_plain(paragraph.pop()), level=1 if underlined[1][0] == "=" else 2)
        elif heading:
            yield from _paragraph(paragraph)
            yield _Block(_plain(heading[2]), level=len(heading[1]))
        elif line.strip():
            paragraph.append(line.rstrip())
        else:
            yield from _paragraph(paragraph)
        position += 1
    yield from _paragraph(paragraph)


def _paragraph(lines: list[str]) -> Iterator[_Block]:
    """Yield the paragraph of `lines`, if there is one, and empty them."""
    if lines:
        yield _Block("\n".join(lines))
        lines.clear()


def _closings(lines: list[str]) -> dict[int, int]:
    """Return where each code block begins and ends; a fence that nothing closes begins none."""
    fences = [(number, match[1], line) for number, line in enumerate(lines) if (match := _FENCE.match(line))]
    found: dict[int, int] = {}
    opened: tuple[int, str] | None = None
    for number, fence, line in fences:
        if opened is None:
            opened = (number, fence)
        elif line.strip() == fence and fence.startswith(opened[1]):
            found[opened[0]] = number
            opened = None
    return found


def _plain(heading: str) -> str:
    """Return a heading's words without its markup."""
    return _MARKUP.sub(lambda match: match[1] or "", heading).strip()


def _pack(blocks: list[_Block]) -> Iterator[str]:
    """Yield the blocks of one section, as many together as fit."""
    held: list[str] = []
    size = 0
    for block in blocks:
        for piece in _listing(block.text) if block.code else _bounded(block.text):
            if held and size + len(piece) > MAX_PASSAGE:
                yield "\n\n".join(held)
                held, size = [], 0
            held.append(piece)
            size += len(piece) + 2
    if held:
        yield "\n\n".join(held)


def _bounded(text: str) -> Iterator[str]:
    """Yield a paragraph whole, or in pieces of at most MAX_PASSAGE cut after sentences where there are any."""
    held = ""
    for sentence in sentences(text) if len(text) > MAX_PASSAGE else [text]:
        if held and len(held) + len(sentence) > MAX_PASSAGE:
            yield held.strip()
            held = ""
        held += sentence
        while len(held) > MAX_PASSAGE:
            yield held[:MAX_PASSAGE]
            held = held[MAX_PASSAGE:]
    if held.strip():
        yield held.strip()


def _listing(text: str) -> Iterator[str]:
    """Yield a code block whole, or one too long in several, each fenced as it was."""
    if len(text) <= MAX_CODE:
        yield text
        return
    first, *body, last = text.split("\n")
    held: list[str] = []
    size = 0
    for line in body:
        for piece in [line[start : start + MAX_CODE] for start in range(0, max(len(line), 1), MAX_CODE)]:
            if held and size + len(piece) > MAX_CODE:
                yield "\n".join([first, *held, last])
                held, size = [], 0
            held.append(piece)
            size += len(piece) + 1
    yield "\n".join([first, *held, last])
