"""The AsyncAPI document says what is true: of the routes, of the frames, of what is refused."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from channels.routing import URLRouter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chatgateway.asyncapi.channels import CLOSE_CODES, describe
from chatgateway.asyncapi.document import payload_of
from chatgateway.asyncapi.views import written
from chatgateway.live import protocol as live
from chatgateway.routing import websocket_router
from integrations import errors
from integrations.contact import protocol as contact
from integrations.examples import load
from integrations.langbot import protocol as langbot
from integrations.postoffice import protocol as postoffice
from integrations.strict import ProtocolError, decode
from integrations.wechat import protocol as wechat
from integrations.yishiting import protocol as yishiting
from tests.support.environment import ROOT
from tests.support.frames import any_json, client_frames, nearly
from tests.support.schemas import Document

FILE = ROOT / "docs" / "asyncapi.yaml"
DESCRIBED = describe("0.1.0")
DOCUMENT = Document(DESCRIBED)
MESSAGES: dict[str, dict[str, Any]] = DESCRIBED["components"]["messages"]
WIRES = ("contact", "langbot", "postoffice", "wechat", "yishiting")


def sent(channel: str) -> dict[str, Any]:
    """Return the schema of what clients send on a channel."""
    operations = [
        operation
        for operation in DESCRIBED["operations"].values()
        if operation["action"] == "receive" and operation["channel"]["$ref"] == f"#/channels/{channel}"
    ]
    names = [message["$ref"].rsplit("/", 1)[1] for operation in operations for message in operation["messages"]]
    messages = DESCRIBED["channels"][channel]["messages"]
    return {"anyOf": [MESSAGES[messages[name]["$ref"].rsplit("/", 1)[1]]["payload"] for name in names]}


# --- The document ------------------------------------------------------------------------------


def test_the_file_is_what_would_be_generated() -> None:
    assert FILE.read_text("utf-8") == written("yaml"), "run `make asyncapi`"
    assert yaml.safe_load(written("yaml")) == json.loads(written("json"))


def addresses(router: URLRouter, prefix: str = "/") -> Iterator[str]:
    routes: list[Any] = router.routes
    for route in routes:
        address = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(route.pattern))
        if isinstance(route.callback, URLRouter):
            yield from addresses(route.callback, address)
        elif "{rest}" not in address:  # what refuses every other path
            yield address


def test_every_socket_has_its_channel() -> None:
    described = {
        DESCRIBED["servers"][server["$ref"].rsplit("/", 1)[1]].get("pathname", "") + channel["address"]
        for channel in DESCRIBED["channels"].values()
        for server in channel.get("servers", ())
        if DESCRIBED["servers"][server["$ref"].rsplit("/", 1)[1]]["protocol"] == "ws"
    }
    assert described == set(addresses(websocket_router))
    assert len(described) == 12


def test_every_close_code_of_ours_is_explained() -> None:
    ours = {value for value in vars(errors).values() if isinstance(value, int) and 1000 <= value < 5000}
    assert len(ours) > 10
    assert ours <= CLOSE_CODES.keys()
    for code, meaning in CLOSE_CODES.items():
        assert f"| {code} | {meaning} |" in DESCRIBED["info"]["description"]


def arguments_of(wire: str) -> set[str]:
    """Return what a wire reads of a handshake's query."""
    modules = [module for module in (ROOT / "integrations" / wire).glob("*.py") if module.name != "views.py"]
    found: set[Any] = set()
    for node in (node for module in modules for node in ast.walk(ast.parse(module.read_text("utf-8")))):
        match node:
            case ast.Call(func=ast.Attribute(value=queried, attr="get"), args=[ast.Constant(value=name), *_]):
                pass
            case ast.Subscript(value=queried, slice=ast.Constant(value=name)):
                pass
            case _:
                continue
        if ast.unparse(queried).endswith("query"):
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("channel", "wire"),
    [("pipeline", "langbot"), ("contact", "contact"), ("hub", "postoffice"), ("wechat", "wechat")],
)
def test_every_argument_of_a_handshake_is_described_and_no_other(channel: str, wire: str) -> None:
    described = DESCRIBED["channels"][channel]["bindings"]["ws"]["query"]["properties"]
    assert described.keys() == arguments_of(wire) | {"token"}


# --- Examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_has_examples_that_are_valid(name: str) -> None:
    examples = MESSAGES[name].get("examples", [])
    assert examples
    for example in examples:
        DOCUMENT.validator(MESSAGES[name]["payload"]).validate(example["payload"])


@pytest.mark.parametrize("wire", WIRES)
def test_every_example_is_in_the_document(wire: str) -> None:
    described = [
        (example["name"], example["payload"])
        for name, message in MESSAGES.items()
        if name.startswith(f"{wire}.")
        for example in message.get("examples", ())
    ]
    expected = [(example.name, payload_of(example)) for example in load(wire)]
    assert sorted(map(repr, described)) == sorted(map(repr, expected))


# --- What is refused ---------------------------------------------------------------------------

PARSERS: dict[str, Callable[[str], object]] = {
    "pipeline": langbot.parse,
    "contact": contact.parse,
    "wechat": wechat.parse,
    "yishiting": lambda text: yishiting.parse(text, yishiting.StreamedCall),
    "yishiting_sync": lambda text: yishiting.parse(text, yishiting.WholeCall),
    "staff": live.parse,
}
VALIDATORS = {channel: DOCUMENT.validator(sent(channel)) for channel in PARSERS}
COMPONENTS = [component for frame in client_frames("langbot") for component in frame.get("message", [])]
# Values at the bounds of our types, and beyond them.
ODD: st.SearchStrategy[Any] = (
    st.none()
    | st.sampled_from(["", " ", "\x1f", "\x85", "x", True, 0, -1, 1.5, 2**63 - 1, 2**63, [], {}, "text", "ping"])
    | st.sampled_from([128, 129, 200, 201, 512, 513, 1000, 1001, 5000, 5001]).map(lambda length: "长" * length)
    | any_json
)
FRAMES = {
    "pipeline": nearly(
        client_frames("langbot"),
        type=ODD,
        message=st.lists(nearly(COMPONENTS, type=ODD, text=ODD, base64=ODD), max_size=3)
        | st.sampled_from([200, 201]).map(lambda count: [{"type": "AtAll"}] * count),
        client_msg_id=ODD,
        last_seq=ODD,
    ),
    "contact": nearly(
        client_frames("contact"), **dict.fromkeys(("message", "client_id", "last_seq", "timestamp", "type"), ODD)
    ),
    "wechat": nearly(
        client_frames("wechat"), **dict.fromkeys(("query", "code", "id", "stream", "last_seq", "type"), ODD)
    ),
    "yishiting": nearly(
        client_frames("yishiting"), **dict.fromkeys(("user", "msg_type", "content", "msg_id", "session_id"), ODD)
    ),
}


def is_taken(channel: str, text: str) -> bool:
    try:
        PARSERS[channel](text)
    except ProtocolError:
        return False
    return True


def is_ambiguous(value: object) -> bool:
    """Tell whether JSON Schema calls a number whole that was written with a point."""
    match value:
        case dict():
            return any(map(is_ambiguous, value.values()))
        case list():
            return any(map(is_ambiguous, value))
        case float():
            return value.is_integer()
    return False


@pytest.mark.parametrize("channel", PARSERS)
@given(data=st.data())
def test_what_the_document_accepts_the_gateway_takes(channel: str, data: st.DataObject) -> None:
    text = json.dumps(data.draw(DOCUMENT.accepted(sent(channel))))
    assume(is_strict(text))
    assert is_taken(channel, text)


@pytest.mark.parametrize("channel", FRAMES)
@settings(max_examples=300)
@given(data=st.data())
def test_the_gateway_takes_what_the_document_accepts_and_nothing_else(channel: str, data: st.DataObject) -> None:
    frame = data.draw(FRAMES[channel])
    assume(not is_ambiguous(frame))
    text = json.dumps(frame)
    assume(is_strict(text))
    assert is_taken(channel, text) == VALIDATORS[channel].is_valid(frame)


def is_strict(text: str) -> bool:
    """Tell whether a text is JSON as every wire wants it, whatever it says."""
    try:
        decode(text)
    except ProtocolError:
        return False
    return True


@given(data=st.data())
def test_a_letter_that_the_document_accepts_is_delivered(data: st.DataObject) -> None:
    letter = data.draw(DOCUMENT.accepted(sent("hub")))
    text = json.dumps(letter)
    assume(is_strict(text))
    delivered = json.loads(postoffice.parse(text, "a").text)
    payload = MESSAGES["postoffice.Delivered"]["payload"]
    DOCUMENT.validator(payload).validate(delivered)
