"""What a process knows of the pipelines' documents: an index each, following the database.

`refresh` runs in a thread and replaces a pipeline's shelf by one assignment; whoever searches meanwhile, on the event
loop or elsewhere, keeps the shelf it found.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from uuid import UUID

import msgspec

from conversations.knowledge import passages, segment
from conversations.knowledge.index import Entry, Index
from conversations.models import Document, Pipeline
from conversations.store import patient
from conversations.types import Language

DOCUMENTS_AT_ONCE = 100
# Once a refresh has worked for REST_AFTER seconds it sleeps for REST seconds between two documents: the event loop
# would otherwise wait for the interpreter at every step.
REST_AFTER = 0.005
REST = 0.0005
THREADED_SIZE = 20_000  # passages; beyond, a search takes too long for the event loop


class Hit(msgspec.Struct, frozen=True):
    """A passage about a question; the first fields are those of a citation, `headings` lead to it in its document."""

    doc_id: str
    space_id: str
    title: str
    url: str
    score: float
    headings: tuple[str, ...]
    text: str

    @property
    def heading(self) -> str:
        return " › ".join(self.headings)


class _Card(msgspec.Struct, frozen=True):
    """What is known of a document besides its passages."""

    space: str
    title: str
    url: str
    language: Language | None


MAX_QUESTION = 2000  # characters of a question that are searched for; more only costs time


class _Shelf(msgspec.Struct, frozen=True):
    """One pipeline's documents as of a revision; immutable."""

    pipeline_id: int
    name: str
    revision: int = 0
    index: Index = msgspec.field(default_factory=Index)
    cards: dict[str, _Card] = msgspec.field(default_factory=dict)


class Library:
    """The documents of every pipeline, searchable; a pipeline finds its own only."""

    def __init__(
        self,
        *,
        rest: Callable[[float], None] = time.sleep,
        rest_after: float = REST_AFTER,
        threaded_size: int = THREADED_SIZE,
    ) -> None:
        self._rest = rest
        self._rest_after = rest_after
        self._threaded_size = threaded_size
        self._shelves: dict[UUID, _Shelf] = {}
        self._refreshing = threading.Lock()

    @patient
    def refresh(self) -> None:
        """Follow the database: read what changed and drop what is gone. Blocks; call it in a thread."""
        with self._refreshing:
            known = self._shelves
            shelves: dict[UUID, _Shelf] = {}
            rows = Pipeline.objects.values_list("id", "uuid", "name", "knowledge_revision")
            for pipeline_id, uuid, name, revision in rows:
                shelf = known.get(uuid)
                if shelf is None or shelf.pipeline_id != pipeline_id or shelf.revision > revision:
                    # New here, or the database was put back: nothing that was read before counts.
                    shelf = _Shelf(pipeline_id, name)
                elif shelf.name != name:
                    shelf = msgspec.structs.replace(shelf, name=name)
                shelves[uuid] = shelf if shelf.revision == revision else self._followed(shelf, revision)
            self._shelves = shelves

    async def search(
        self, pipeline: UUID, question: str, language: Language | None = None, limit: int = 3
    ) -> list[Hit]:
        """Return what `search_now` does, without holding the event loop up where there are many passages."""
        if self.size(pipeline) > self._threaded_size:
            return await asyncio.to_thread(self.search_now, pipeline, question, language, limit)
        return self.search_now(pipeline, question, language, limit)

    def search_now(self, pipeline: UUID, question: str, language: Language | None = None, limit: int = 3) -> list[Hit]:
        """Return the passages of a pipeline that are about a question, best first, at most `limit`.

        Passages in `language` are preferred. It takes milliseconds, tens of them beyond 50,000 passages.
        """
        shelf = self._shelves.get(pipeline)
        if shelf is None:
            return []
        hits = []
        # What the pipeline is called is what all of its documents are about.
        for match in shelf.index.search(question[:MAX_QUESTION], language, limit, subject=_subject(shelf.name)):
            card = shelf.cards[match.entry.document]
            hits.append(
                Hit(
                    doc_id=match.entry.document,
                    space_id=card.space,
                    title=card.title,
                    url=card.url,
                    score=round(match.score, 4),
                    headings=match.entry.headings,
                    text=match.entry.text,
                )
            )
        return hits

    def titles(self, pipeline: UUID, language: Language | None = None) -> list[str]:
        """Return the titles of a pipeline's documents, without doubles; of those in `language` where there are any."""
        shelf = self._shelves.get(pipeline)
        cards = list(shelf.cards.values()) if shelf else []
        chosen = [card for card in cards if card.language == language] or cards
        return list(dict.fromkeys(card.title for card in chosen))

    def size(self, pipeline: UUID) -> int:
        """Return how many passages a pipeline has."""
        shelf = self._shelves.get(pipeline)
        return len(shelf.index) if shelf else 0

    def _followed(self, shelf: _Shelf, revision: int) -> _Shelf:
        """Return a shelf with everything up to `revision`; what was committed meanwhile is read now or again."""
        documents = Document.objects.filter(pipeline_id=shelf.pipeline_id)
        cards = dict(shelf.cards)

        def changed() -> Iterator[tuple[str, Sequence[Entry]]]:
            rested = time.monotonic()
            rows = documents.filter(revision__gt=shelf.revision).order_by("path", "id")
            for row in rows.iterator(chunk_size=DOCUMENTS_AT_ONCE):
                key = str(row.uuid)
                cards[key] = _Card(row.space, row.title, row.url, segment.language_of(row.text))
                yield key, _entries(key, row.title, row.text, cards[key].language)
                if time.monotonic() - rested > self._rest_after:
                    self._rest(REST)
                    rested = time.monotonic()

        present = {str(uuid) for uuid in documents.values_list("uuid", flat=True)}
        gone = cards.keys() - present
        index = shelf.index.changed(changed(), gone)
        return _Shelf(
            pipeline_id=shelf.pipeline_id,
            name=shelf.name,
            revision=revision,
            index=index,
            cards={key: card for key, card in cards.items() if key not in gone},
        )


@lru_cache(maxsize=256)
def _subject(name: str) -> frozenset[str]:
    return frozenset(segment.terms(name))


def _entries(document: str, title: str, text: str, language: Language | None) -> list[Entry]:
    return [
        Entry(document=document, title=title, headings=passage.headings, text=passage.text, language=language)
        for passage in passages.split(text, title)
    ]
