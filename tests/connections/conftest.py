"""Hubs, and a layer for each, as each process has one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from connections.hub import Hub
from connections.relay import Layer
from tests.connections.doubles import Database, JsonCodec
from tests.conversations.conftest import database as real_database  # noqa: F401  for our tests too
from tests.conversations.conftest import database_urls  # noqa: F401
from tests.support.databases import ValkeyServer

Start = Callable[..., Awaitable[Hub]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a hub; it stops with the test."""
    hubs = []

    async def start_hub(layer: Layer | None = None, database: Database | None = None, **options: Any) -> Hub:
        stored = database or Database()
        options = {"shared": False, "look": 0.05, "on_its_way": 0.05, **options}
        made = Hub(layer or InMemoryChannelLayer(), JsonCodec(), fill=stored.fill, latest=stored.latest, **options)
        hubs.append(made)
        await made.start()
        return made

    yield start_hub
    for made in hubs:
        await made.stop()


@pytest.fixture
async def new_layer(valkey: ValkeyServer) -> AsyncIterator[Callable[..., RedisPubSubChannelLayer]]:
    """A function that gives each hub a layer of its own, as each process has one."""
    layers = []

    def make(server: ValkeyServer = valkey) -> RedisPubSubChannelLayer:
        layers.append(RedisPubSubChannelLayer(hosts=[server.url]))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.flush()
