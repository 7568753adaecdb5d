"""What a process knows of the documents follows the database."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from conversations import services
from conversations.library import Hit, Library
from conversations.models import Document, Pipeline

pytestmark = pytest.mark.django_db

Save = Callable[..., UUID]


@pytest.fixture
def pipeline() -> UUID:
    return Pipeline.objects.create(name="Shop").uuid


@pytest.fixture
def save(pipeline: UUID) -> Save:
    def save(title: str, text: str, **fields: Any) -> UUID:
        return services.save_document(fields.pop("pipeline", pipeline), title=title, text=text, **fields)

    return save


def titles(library: Library, pipeline: UUID, question: str) -> list[str]:
    return [hit.title for hit in library.search_now(pipeline, question)]


def test_a_hit_says_where_it_stands(pipeline: UUID, save: Save) -> None:
    uuid = save("Shop", "# Shop\n\n## Hours\n\n### Weekdays\n\nOpen at nine.", space="faq", url="https://a.test/x")
    library = Library()
    library.refresh()
    (hit,) = library.search_now(pipeline, "weekdays hours", "en")
    assert (hit.doc_id, hit.space_id, hit.title, hit.url) == (str(uuid), "faq", "Shop", "https://a.test/x")
    assert (hit.headings, hit.heading, hit.text) == (("Hours", "Weekdays"), "Hours › Weekdays", "Open at nine.")
    assert hit.score > 0


def test_changes_are_followed(pipeline: UUID, save: Save) -> None:
    library = Library()
    library.refresh()
    assert titles(library, pipeline, "zebra") == []
    first, second = save("First", "zebra"), save("Second", "zebra")
    assert titles(library, pipeline, "zebra") == []
    library.refresh()
    assert sorted(titles(library, pipeline, "zebra")) == ["First", "Second"]
    save("First", "giraffe", document=first)
    services.delete_documents(pipeline, [second])
    library.refresh()
    assert titles(library, pipeline, "zebra") == []
    assert titles(library, pipeline, "giraffe") == ["First"]
    assert library.size(pipeline) == 1


def test_only_what_changed_is_read(pipeline: UUID, save: Save) -> None:
    save("First", "zebra")
    library = Library()
    library.refresh()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        library.refresh()
    assert len(queries) == 1
    # Past the services, so no revision tells of it.
    Document.objects.update(text="hidden giraffe")
    save("Second", "giraffe")
    library.refresh()
    assert titles(library, pipeline, "giraffe") == ["Second"]


def test_a_pipeline_finds_its_own_documents_only(pipeline: UUID, save: Save) -> None:
    other = Pipeline.objects.create(name="Other").uuid
    save("Mine", "zebra")
    save("Theirs", "zebra zebra zebra", pipeline=other)
    library = Library()
    library.refresh()
    assert titles(library, pipeline, "zebra") == ["Mine"]
    assert titles(library, other, "zebra") == ["Theirs"]
    assert titles(library, uuid4(), "zebra") == []
    assert library.size(uuid4()) == 0


def test_a_pipeline_that_is_gone_or_was_put_back_is_noticed(pipeline: UUID, save: Save) -> None:
    save("Old", "zebra")
    save("Old too", "zebra")
    library = Library()
    library.refresh()
    Pipeline.objects.filter(uuid=pipeline).delete()
    library.refresh()
    assert titles(library, pipeline, "zebra") == []
    Pipeline.objects.create(name="Shop", uuid=pipeline)
    save("New", "zebra")
    library.refresh()
    assert titles(library, pipeline, "zebra") == ["New"]
    # A back-up was restored: the revision is lower than the one that was read.
    save("Newer", "zebra")
    library.refresh()
    Document.objects.filter(title="Newer").delete()
    Pipeline.objects.update(knowledge_revision=1)
    library.refresh()
    assert titles(library, pipeline, "zebra") == ["New"]


def test_titles_in_the_asked_language_where_there_are_any(pipeline: UUID, save: Save) -> None:
    save("营业时间", "我们九点开门。")
    save("Hours", "We open at nine in the morning.")
    save("Hours", "We close at five.")
    library = Library()
    library.refresh()
    assert library.titles(pipeline, "zh-hans") == ["营业时间"]
    assert library.titles(pipeline, "en") == ["Hours"]
    assert sorted(library.titles(pipeline)) == ["Hours", "营业时间"]
    services.delete_documents(pipeline, Document.objects.filter(title="Hours").values_list("uuid", flat=True))
    library.refresh()
    assert library.titles(pipeline, "en") == ["营业时间"]


def test_a_search_during_a_refresh_sees_the_old_documents(pipeline: UUID, save: Save) -> None:
    seen: list[list[str]] = []
    library = Library(rest=lambda _: seen.append(titles(library, pipeline, "zebra")), rest_after=-1.0)
    save("First", "zebra")
    library.refresh()
    save("Second", "zebra")
    save("Third", "zebra")
    library.refresh()
    assert seen == [[], ["First"], ["First"]]
    assert len(titles(library, pipeline, "zebra")) == 3


def test_what_the_pipeline_is_called_decides_nothing(pipeline: UUID, save: Save) -> None:
    for title in ("Opening hours", "Open windows", "Open air"):
        save(title, "Open from nine to five, also when it rains and on public holidays of the country.")
    save("About", "The Aquarium is a house of fish.")
    library = Library()
    library.refresh()
    assert titles(library, pipeline, "When does the aquarium open?")[0] == "About"
    Pipeline.objects.filter(uuid=pipeline).update(name="Aquarium")
    library.refresh()
    assert titles(library, pipeline, "When does the aquarium open?")[0] == "Opening hours"
    assert titles(library, pipeline, "What is the aquarium?") == ["About"]


@pytest.mark.parametrize(("threaded_size", "elsewhere"), [(1, True), (2, False)])
def test_many_passages_are_searched_beside_the_event_loop(
    pipeline: UUID, save: Save, threaded_size: int, elsewhere: bool
) -> None:
    seen: list[threading.Thread] = []

    class Watched(Library):
        def search_now(self, *args: Any) -> list[Hit]:
            seen.append(threading.current_thread())
            return super().search_now(*args)

    save("First", "zebra")
    save("Second", "zebra")
    library = Watched(threaded_size=threaded_size)
    library.refresh()
    assert len(asyncio.run(library.search(pipeline, "zebra", "en", 4))) == 2
    assert (seen != [threading.current_thread()]) == elsewhere
