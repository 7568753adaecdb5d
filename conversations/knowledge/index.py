"""An inverted index with BM25 weights that changes cheaply and never under a reader's hands. Pure.

`Index.changed` returns a new index that shares what did not change, so a reader keeps the one it has without a lock.
Weights take no average of the collection, which keeps an index that was changed equal to one built anew.
"""

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from heapq import nlargest
from typing import NamedTuple

import msgspec

from conversations.knowledge import segment
from conversations.types import Language

K1 = 1.2  # how soon a term's repetition stops to count
B = 0.5  # how much a long passage is held back
USUAL_LENGTH = 100.0  # terms of a passage that is neither long nor short
TITLE_WEIGHT = 2  # a term in the title counts as often as this
HEADING_WEIGHT = 3
# Passages of other texts that are imagined beside the real ones: in a small collection every word would look common.
BACKGROUND = 100
# The share of a question's information that a passage must hold to be about it.
RELEVANT = 0.5
SINGLE_CHARACTER = 0.5  # factor of what a term of one character is worth
SUBJECT = 0.2  # factor of what a term is worth that names what all of the documents are about
CANDIDATES = 200  # passages, best by their words, that are looked at more closely
OTHER_LANGUAGE = 0.5  # factor of the score of a passage in another language than the question's


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A passage as it is found; `document` is the key under which it was added."""

    document: str
    title: str
    headings: tuple[str, ...]
    text: str
    language: Language | None


class Match(msgspec.Struct, frozen=True):
    """A passage about the question; `score` orders the matches of one search, `coverage` is 0 to 1."""

    entry: Entry
    score: float
    coverage: float


class _Postings(NamedTuple):
    """The passages that hold a term, ascending, with the term's weight in each."""

    numbers: "array[int]"
    weights: "array[float]"

    def place(self, number: int) -> int | None:
        """Return where a passage stands, or None where it does not hold the term."""
        place = bisect_left(self.numbers, number)
        return place if place < len(self.numbers) and self.numbers[place] == number else None


class _Wanted(msgspec.Struct, frozen=True):
    """A unit of a question: its information, and the terms that hold some of it with their idf."""

    information: float
    terms: tuple[tuple[float, float, _Postings], ...]  # idf, information held, postings


class Index:
    """Passages of documents, found by their words; immutable."""

    __slots__ = ("_documents", "_entries", "_next", "_postings")

    def __init__(self) -> None:
        self._postings: dict[str, _Postings] = {}
        self._entries: dict[int, Entry] = {}
        self._documents: dict[str, range] = {}
        self._next = 0

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self._entries)

    def entries(self) -> Iterator[Entry]:
        """Yield every passage."""
        return iter(self._entries.values())

    def changed(self, added: Iterable[tuple[str, Sequence[Entry]]], removed: Iterable[str] = ()) -> "Index":
        """Return an index without the documents `removed` and with those `added`, which replace their like."""
        changed = Index()
        changed._postings = dict(self._postings)
        changed._entries = dict(self._entries)
        changed._documents = dict(self._documents)
        changed._next = self._next
        owned: dict[str, _Postings] = {}  # postings that this change has copied already
        for document in removed:
            changed._remove(document, owned)
        for document, entries in added:
            changed._remove(document, owned)
            changed._add(document, entries, owned)
        return changed

    def search(
        self,
        question: str,
        language: Language | None = None,
        limit: int = 3,
        *,
        subject: AbstractSet[str] = frozenset(),
    ) -> list[Match]:
        """Return the passages about a question, best first, at most `limit`; none where nothing is about it.

        `subject` holds the terms of what all of the documents are about: asked with them, a question means none of
        the passages more than the others, however few of them name it.
        """
        wanted = self._wanted(question, subject)
        total = sum(unit.information for unit in wanted)
        needed = RELEVANT * total
        left = sum(unit.information for unit in wanted if unit.terms)
        scores: dict[int, float] = {}
        for unit in wanted:
            # What is left can lift no new passage over the bar: from here on only those found already count.
            for idf, _, postings in unit.terms:
                _collect(scores, idf, postings, closed=left < needed)
            left -= unit.information if unit.terms else 0.0
        found = []
        for number in nlargest(CANDIDATES, scores, key=scores.__getitem__):
            coverage = sum(_held(unit, number) for unit in wanted) / total
            if coverage >= RELEVANT:
                entry = self._entries[number]
                factor = OTHER_LANGUAGE if language and entry.language and entry.language != language else 1.0
                found.append(Match(entry, scores[number] * coverage * factor, coverage))
        return nlargest(limit, found, key=lambda match: match.score)

    def _idf(self, frequency: int) -> float:
        size = len(self._entries) + BACKGROUND
        return math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))

    def _wanted(self, question: str, subject: AbstractSet[str]) -> list[_Wanted]:
        """Return the question's units, rarest first."""
        found = [self._weigh(unit, subject) for unit in dict.fromkeys(segment.units(question))]
        return sorted(found, key=lambda unit: -unit.information)

    def _weigh(self, unit: segment.Unit, subject: AbstractSet[str]) -> _Wanted:
        """Return what a unit of a question is worth; a part of it holds no more than its share of the letters."""
        whole = self._postings.get(unit.term)
        information = self._idf(len(whole.numbers) if whole else 0)
        terms = [(information, information, whole)] if whole else []
        for part in unit.parts:
            postings = self._postings.get(part)
            if postings:
                idf = self._idf(len(postings.numbers))
                terms.append((idf, min(idf, information) * len(part) / len(unit.term), postings))
        # A Chinese character by itself means many things, so it tells little.
        weight = SINGLE_CHARACTER if len(unit.term) == 1 else 1.0
        weight *= SUBJECT if unit.term in subject else 1.0
        return _Wanted(information * weight, tuple((idf * weight, held * weight, found) for idf, held, found in terms))

    def _add(self, document: str, entries: Sequence[Entry], owned: dict[str, _Postings]) -> None:
        first = self._next
        for number, entry in enumerate(entries, first):
            for term, weight in _weights(entry).items():
                numbers, weights = owned.get(term) or self._own(term, owned)
                numbers.append(number)
                weights.append(weight)
            self._entries[number] = entry
        self._next = first + len(entries)
        self._documents[document] = range(first, self._next)

    def _remove(self, document: str, owned: dict[str, _Postings]) -> None:
        for number in self._documents.pop(document, range(0)):
            for term in _weights(self._entries.pop(number)):
                postings = owned.get(term) or self._own(term, owned)
                place = bisect_left(postings.numbers, number)
                del postings.numbers[place], postings.weights[place]
                if not postings.numbers:
                    del self._postings[term], owned[term]

    def _own(self, term: str, owned: dict[str, _Postings]) -> _Postings:
        """Return a copy of a term's postings that nobody reads yet, and keep it for the next change."""
        postings = self._postings.get(term)
        copy = _Postings(postings.numbers[:], postings.weights[:]) if postings else _Postings(array("I"), array("f"))
        owned[term] = self._postings[term] = copy
        return copy


def _collect(scores: dict[int, float], idf: float, postings: _Postings, *, closed: bool) -> None:
    """Add a term's share to the score of each passage; `closed` admits no passage that has none yet."""
    numbers, weights = postings.numbers, postings.weights
    if not closed:
        for number, weight in zip(numbers, weights, strict=True):
            scores[number] = scores.get(number, 0.0) + idf * weight
    elif len(scores) * 8 > len(numbers):
        for number, weight in zip(numbers, weights, strict=True):
            if number in scores:
                scores[number] += idf * weight
    else:
        for number in scores:
            place = postings.place(number)
            if place is not None:
                scores[number] += idf * weights[place]


def _held(unit: _Wanted, number: int) -> float:
    """Return how much of a unit's information a passage holds."""
    held = sum(share for _, share, postings in unit.terms if postings.place(number) is not None)
    return min(held, unit.information)


def _weights(entry: Entry) -> dict[str, float]:
    """Return the BM25 weight of every term of a passage, without the term's idf."""
    terms = segment.terms(entry.text)
    counts = Counter(terms)
    for heading in entry.headings:
        for term in _heading_terms(heading):
            counts[term] += HEADING_WEIGHT
    for term in _heading_terms(entry.title):
        counts[term] += TITLE_WEIGHT
    norm = K1 * (1 - B + B * len(terms) / USUAL_LENGTH)
    # Most terms stand once; counting those by themselves spares a division each.
    once = (K1 + 1) / (1 + norm)
    return {term: once if count == 1 else count * (K1 + 1) / (count + norm) for term, count in counts.items()}


@lru_cache(maxsize=1024)
def _heading_terms(heading: str) -> tuple[str, ...]:
    """Return the terms of a title or heading, which many passages in a row share."""
    return tuple(segment.terms(heading))
