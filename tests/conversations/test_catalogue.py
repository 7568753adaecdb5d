"""The pipelines as a process knows them follow the database, and cost it little."""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from conversations.catalogue import LOOK_AGAIN, Catalogue
from conversations.models import Pipeline, Route
from conversations.responders.base import PipelineConfig, RouteConfig
from conversations.store import StoreUnavailable
from tests.conversations.doubles import WatchedStore

R = TypeVar("R")


class CountingReader:
    """Answers every query with the same pipelines, or fails."""

    def __init__(self, pipelines: dict[UUID, PipelineConfig] | None = None) -> None:
        self.pipelines = pipelines or {}
        self.reads = 0
        self.away = False

    async def read(self, _function: Callable[[], R]) -> R:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("away")
        return dict(self.pipelines)  # type: ignore[return-value]  # the one query that a catalogue makes


def config(number: int, name: str) -> PipelineConfig:
    return PipelineConfig(
        id=number, uuid=uuid4(), name=name, description="", is_default=False, failure_text="", group_reply="mentioned",
        group_prefix="ai", public=False, routes=(),
    )  # fmt: skip


async def test_a_snapshot_stays_until_it_is_refreshed(store: WatchedStore, pipeline: Pipeline) -> None:
    catalogue = Catalogue(store)
    assert catalogue.get(pipeline.uuid) is None
    await catalogue.refresh()
    found = catalogue.get(pipeline.uuid)
    assert found is not None
    assert (found.id, found.name, found.routes) == (pipeline.pk, "Shop", ())

    def change() -> None:
        Pipeline.objects.filter(pk=pipeline.pk).update(name="New")
        Route.objects.create(pipeline=pipeline, kind="openai", model="m", recall=False, system_prompt="Be short.")

    await store.read(change)
    assert catalogue.get(pipeline.uuid) is found
    await catalogue.refresh()
    changed = catalogue.get(pipeline.uuid)
    assert changed is not None
    assert changed.name == "New"
    assert changed.routes == (RouteConfig("openai", recall=False, system_prompt="Be short.", model="m"),)
    await store.read(pipeline.delete)
    await catalogue.refresh()
    assert catalogue.get(pipeline.uuid) is None


async def test_a_pipeline_made_just_now_is_found(store: WatchedStore, pipeline: Pipeline) -> None:
    found = await Catalogue(store).find(str(pipeline.uuid))
    assert found is not None
    assert found.uuid == pipeline.uuid


async def test_one_that_is_known_costs_no_query() -> None:
    known = config(1, "A")
    reader = CountingReader({known.uuid: known})
    catalogue = Catalogue(reader)
    assert await catalogue.find(str(known.uuid)) == known
    assert await catalogue.find(str(known.uuid)) == known
    assert reader.reads == 1


@pytest.mark.parametrize("name", ["", "Shop", "1", "é" * 36])
async def test_what_is_no_uuid_names_none_and_nobody_looks_for_it(name: str) -> None:
    reader = CountingReader()
    assert await Catalogue(reader).find(name) is None
    assert reader.reads == 0


async def test_one_that_is_not_there_is_looked_for_now_and_then_only() -> None:
    reader = CountingReader()
    catalogue = Catalogue(reader)
    late = config(1, "Late")
    assert [await catalogue.find(str(late.uuid)) for _ in range(5)] == [None] * 5
    assert reader.reads == 1
    reader.pipelines = {late.uuid: late}
    assert await catalogue.find(str(late.uuid)) is None
    catalogue._read_at -= LOOK_AGAIN
    assert await catalogue.find(str(late.uuid)) == late


async def test_a_failed_refresh_leaves_what_was_known() -> None:
    known = config(1, "A")
    reader = CountingReader({known.uuid: known})
    catalogue = Catalogue(reader)
    await catalogue.refresh()
    reader.away = True
    with pytest.raises(StoreUnavailable):
        await catalogue.refresh()
    assert catalogue.get(known.uuid) == known


async def test_all_are_listed_by_name() -> None:
    several = [config(3, "B"), config(2, "B"), config(1, "C"), config(4, "A")]
    catalogue = Catalogue(CountingReader({one.uuid: one for one in several}))
    assert catalogue.all() == []
    await catalogue.refresh()
    assert [one.id for one in catalogue.all()] == [4, 2, 3, 1]
