"""What the wires tell the playground of themselves is true: addresses, examples, and the steps of conversations."""

import importlib
import json
import re
from typing import Any

import pytest
from django.urls import Resolver404, resolve

from chatgateway.asyncapi.channels import describe
from chatgateway.pages.panels import panels
from chatgateway.pages.playground import _bodies
from chatgateway.routing import websocket_router
from integrations import examples
from integrations.capabilities import CAPABILITIES
from integrations.playground import Call, Closed, Connect, Expect, Panel, Send, Way
from tests.support.clients import DEFAULT_PIPELINE

PANELS = panels()
WAYS = [(wire, way) for wire, panel in PANELS.items() for way in panel.ways]
SOCKETS = [(wire, way) for wire, way in WAYS if way.method == "WS"]
FILLED = {"pipeline": DEFAULT_PIPELINE, "session_type": "person", "trace": DEFAULT_PIPELINE}
STEPS = [(wire, step) for wire, panel in PANELS.items() for step in panel.steps]
SENT = [(wire, step) for wire, step in STEPS if isinstance(step, Send)]
# What a frame or a value may be filled in with, beside what earlier steps kept.
GENERAL = {"pipeline", "tab", "id", "now", "seconds"}


def places(value: Any) -> set[str]:
    return set(re.findall(r"\$\{(\w+)\}", json.dumps(value)))


def socket_paths(routes: Any, prefix: str = "") -> set[str]:
    """Return every route of the socket router as it is written, those below /websocket/ included."""
    found = set()
    for route in routes:
        path = prefix + str(route.pattern)
        inner = getattr(route.callback, "routes", None)
        found |= socket_paths(inner, path) if inner else {re.sub(r"<\w+:(\w+)>", r"{\1}", path)}
    return found


def test_every_wire_has_a_panel_in_the_order_of_the_capabilities() -> None:
    assert list(PANELS) == list(CAPABILITIES)


@pytest.mark.parametrize(("wire", "way"), WAYS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_every_address_is_one(wire: str, way: Way) -> None:
    fields = {field.name for field in way.fields if field.place == "path"}
    assert set(re.findall(r"\{(\w+)\}", way.path)) == fields
    if way.method == "WS":
        served = socket_paths(websocket_router.routes)
        assert way.path.removeprefix("/").replace("{pipeline}", "{pipeline_uuid}") in served
        return
    view: Any = resolve(re.sub(r"\{(\w+)\}", lambda found: FILLED[found[1]], way.path)).func
    assert hasattr(view.cls, way.method.lower()), "a call of ours, which takes this method"


@pytest.mark.parametrize(("wire", "way"), SOCKETS, ids=[wire for wire, _ in SOCKETS])
def test_every_argument_of_a_handshake_can_be_edited_and_no_other(wire: str, way: Way) -> None:
    channels = describe("1")["channels"].values()
    (described,) = [
        channel for channel in channels if channel["address"] == way.path.replace("{pipeline}", "{pipeline_uuid}")
    ]
    arguments = described["bindings"]["ws"]["query"]["properties"].keys()
    assert {field.name for field in way.fields if field.place == "query"} == arguments - {"token"}


@pytest.mark.parametrize(("wire", "panel"), PANELS.items(), ids=list(PANELS))
def test_what_is_one_s_own_is_what_a_greeting_keeps(wire: str, panel: Panel) -> None:
    greetings = [way.greeting for way in panel.ways if way.greeting]
    assert len(greetings) <= 1
    members = {member for example in examples.load(wire) for member in decoded(example)}
    for greeting in greetings:
        assert set(greeting.keep.values()) | set(greeting.shape) <= members
        assert places(dict(greeting.shape)) <= GENERAL
    own = {field.own for way in panel.ways for field in way.fields if field.own}
    assert own == {name for greeting in greetings for name in greeting.keep}


def decoded(example: examples.Example) -> set[str]:
    """Return the members of an example's JSON, none where it is no object."""
    try:
        value = json.loads(example.text)
    except ValueError:
        return set()
    return set(value) if isinstance(value, dict) else set()


def test_an_address_that_is_none_would_be_found_out() -> None:
    with pytest.raises(Resolver404):
        resolve("/wechat/nobody")
    assert "nothing" not in socket_paths(websocket_router.routes)


@pytest.mark.parametrize(("wire", "panel"), PANELS.items(), ids=list(PANELS))
def test_every_example_of_a_client_can_be_picked_and_every_named_one_is_there(wire: str, panel: Panel) -> None:
    said = [example for example in examples.load(wire) if example.direction == "client"]
    claimed = {name for way in panel.ways if way.method != "WS" for name in way.examples}
    assert {name for way in panel.ways for name in way.examples} <= {example.name for example in said}
    offered = {body["name"] for way in panel.ways for body in _bodies(way, said, claimed)}
    assert {example.name for example in said} <= offered
    for way in panel.ways:
        bodies = _bodies(way, said, claimed)
        assert bodies or way.method == "GET" or way.name == "reset", "there is something to begin with"
        if way.examples:
            assert bodies[0]["name"] == way.examples[0]


@pytest.mark.parametrize(("wire", "panel"), PANELS.items(), ids=list(PANELS))
def test_steps_name_what_there_is(wire: str, panel: Panel) -> None:
    ways = {way.name: way for way in panel.ways}
    assert len(ways) == len(panel.ways)
    known, lines = set(GENERAL), set()
    for step in panel.steps:
        used: set[str] = set()
        match step:
            case Connect():
                assert ways[step.way].method == "WS"
                lines.add(step.on)
                used = places(dict(step.values))
                assert set(step.values) <= {field.name for field in ways[step.way].fields}
            case Call():
                assert ways[step.way].method != "WS"
                used = places([dict(step.values), step.body, dict(step.shape), dict(step.last)])
                assert set(step.values) <= {field.name for field in ways[step.way].fields}
                assert bool(step.last) == ways[step.way].streams
                known |= set(step.keep)
            case Send():
                assert step.on in lines
                used = places(dict(step.frame))
            case Expect():
                assert step.on in lines
                used = places(
                    [dict(step.shape), *map(dict, step.between), dict(step.unless.shape if step.unless else {})]
                )
                known |= set(step.keep)
            case Closed():
                assert step.on in lines
        assert used <= known
    assert any(isinstance(step, Expect | Call) for step in panel.steps), "something is held to the document"


@pytest.mark.parametrize(("wire", "step"), SENT, ids=[wire for wire, _ in SENT])
def test_every_frame_that_is_sent_is_one_of_the_wire(wire: str, step: Send) -> None:
    protocol = importlib.import_module(f"integrations.{wire}.protocol")
    text = json.dumps(dict(step.frame))
    frame = protocol.parse(text, "sender") if wire == "postoffice" else protocol.parse(text)
    assert type(frame).__name__ != "Unknown"
