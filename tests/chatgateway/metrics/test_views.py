"""GET /metrics of a real gateway: who may see them, and that they tell what happens."""

from collections.abc import Iterator
from functools import partial

import pytest
from websockets.exceptions import InvalidStatus

from tests.chatgateway.test_health import allow_connections
from tests.conftest import GatewayFactory, Serve
from tests.faults.proxy import FaultyProxy
from tests.support.applications import make_application
from tests.support.clients import PipelineClient, is_final
from tests.support.databases import ValkeyServer
from tests.support.metrics import get, parse, scrape
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

FROM_OUTSIDE = {"X_Forwarded_For": "192.0.2.7"}


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that asks for tokens."""
    with serve(ACCESS_MODE="token") as gateway:
        yield gateway


def bearer(gateway: GatewayProcess, scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_application(gateway, scopes=scopes).token}", **FROM_OUTSIDE}


def test_a_peer_on_this_machine_needs_no_token(guarded: GatewayProcess) -> None:
    status, text, content_type = get(guarded)
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert parse(text)["chatgateway_workers_live"] == 1
    assert get(guarded, method="POST")[0] == 405


def test_who_comes_through_a_proxy_or_from_a_page_needs_a_token_with_the_scope_admin(guarded: GatewayProcess) -> None:
    assert get(guarded, **FROM_OUTSIDE)[:2] == (401, "A token is needed\n")
    assert get(guarded, Origin="https://elsewhere.example")[0] == 401
    assert get(guarded, **bearer(guarded, "read,write,broadcast"))[:2] == (403, "The scope admin is needed\n")
    assert get(guarded, **bearer(guarded, "admin"))[0] == 200


def test_in_open_mode_a_proxy_does_not_publish_them(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    assert get(gateway, **FROM_OUTSIDE)[0] == 403
    assert get(gateway)[0] == 200


async def test_a_conversation_shows(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("What does the gateway do?", client_msg_id="one")
        await client.say("What does the gateway do?", client_msg_id="one")
        await client.until(is_final)
        await client.send("no JSON")
        await client.ping()
        samples = scrape(gateway)
        assert samples["chatgateway_connections{langbot}"] == 1
        assert samples["chatgateway_opened_total{langbot}"] == 1
        assert samples["chatgateway_messages_total{user}"] == 1
        assert samples["chatgateway_messages_total{assistant}"] == 1
        assert samples["chatgateway_answers_total{answered}"] + samples["chatgateway_answers_total{unknown}"] == 1
        assert samples["chatgateway_answer_seconds_count"] == 1
        assert samples["chatgateway_repeated_total{answered}"] == 1
        assert samples["chatgateway_refused_frames_total{langbot}"] == 1
        assert samples["chatgateway_jobs_total{written}"] >= samples["chatgateway_commit_seconds_count"] > 0
        assert samples["chatgateway_resident_bytes"] > 10_000_000
        assert samples["chatgateway_descriptors"] > 10
        assert samples["chatgateway_cpu_seconds_total{user}"] > 0
    wait_until(
        lambda: scrape(gateway)["chatgateway_closed_total{1000}"] == 1, timeout=10, what="the count of the closed one"
    )
    samples = scrape(gateway)
    assert samples["chatgateway_connections{langbot}"] == 0
    assert samples["chatgateway_outbound_bytes"] == 0


async def test_a_gateway_that_is_full_still_tells_its_numbers(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAX_CONNECTIONS": "2"})
    async with await PipelineClient.connect(gateway), await PipelineClient.connect(gateway):
        with pytest.raises(InvalidStatus, match="503"):
            await PipelineClient.connect(gateway)
        samples = scrape(gateway)
    assert samples["chatgateway_shed_total{connections}"] == 1
    assert samples["chatgateway_connections{langbot}"] == 2


def test_a_database_and_a_layer_that_are_away_show(start_gateway: GatewayFactory) -> None:
    layer = ValkeyServer()
    with FaultyProxy(layer.port) as proxy:
        layer.start()
        quick = {"LOCK_TIMEOUT": "1"}  # who waits longer than that for the database is told so
        gateway = start_gateway(database="postgres", redis_url=f"redis://127.0.0.1:{proxy.port}/0", environment=quick)

        def told(database: int, layer: int) -> bool:
            samples = scrape(gateway)
            return (samples["chatgateway_database_up"], samples["chatgateway_layer_up"]) == (database, layer)

        def failed() -> bool:
            return scrape(gateway)["chatgateway_store_failures_total{unavailable}"] > 0

        try:
            wait_until(partial(told, 1, 1), timeout=20, what="both up")
            allow_connections(gateway.database_url, allowed=False)
            wait_until(partial(told, 0, 1), timeout=30, what="the database down")
            wait_until(failed, timeout=30, what="a write that failed")
            allow_connections(gateway.database_url, allowed=True)
            proxy.refuse()
            proxy.cut()
            wait_until(partial(told, 1, 0), timeout=30, what="the database up and the layer down")
            proxy.accept()
            wait_until(partial(told, 1, 1), timeout=30, what="both up again")
            proxy.stall()
            wait_until(partial(told, 1, 0), timeout=30, what="the layer silent")
            proxy.flow()
            wait_until(partial(told, 1, 1), timeout=30, what="both up at last")
        finally:
            layer.stop()
    samples = scrape(gateway)
    assert samples["chatgateway_layer_changes_total{away}"] >= 2
