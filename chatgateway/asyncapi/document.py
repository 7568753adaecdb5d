"""AsyncAPI 3.0 out of the wires' types and examples. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from chatgateway.asyncapi.schemas import Kind, Schema, Types, reference, schemas_of
from integrations.examples import Direction, Example

VERSION = "3.0.0"
EVENT_DATA = "data:"  # what a server-sent event's JSON begins with

Object = dict[str, Any]


class Wire(msgspec.Struct, frozen=True):
    """A wire: its types, real frames, and the prefix of their names."""

    name: str
    types: Types
    examples: tuple[Example, ...]


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A place where frames travel. An `address` of None is one that only the receiver knows.

    `query` and `headers` are arguments of the handshake, or of the call; `parameters` are parts of the address. Where
    `answers` is set it is a call, which what the gateway tells replies to.
    """

    name: str
    title: str
    description: str
    wire: Wire
    address: str | None
    servers: tuple[str, ...]
    sent: tuple[Kind, ...]
    told: tuple[Kind, ...]
    security: tuple[str, ...] = ()
    parameters: Mapping[str, str] = {}
    query: Mapping[str, Schema] = {}
    headers: Mapping[str, Schema] = {}
    answers: bool = False


def document(*, info: Object, servers: Object, security: Object, channels: Sequence[Channel]) -> Object:
    """Return the document that describes `channels`."""
    wires = {channel.wire.name: channel.wire for channel in channels}.values()
    return {
        "asyncapi": VERSION,
        "info": info,
        "defaultContentType": "application/json",
        "servers": servers,
        "channels": {channel.name: _channel(channel) for channel in channels},
        "operations": {name: body for channel in channels for name, body in _operations(channel).items()},
        "components": {
            "securitySchemes": security,
            "messages": {name: body for wire in wires for name, body in _messages(wire).items()},
            "schemas": {name: body for wire in wires for name, body in schemas_of(wire.name, wire.types).items()},
        },
    }


def _channel(channel: Channel) -> Object:
    kinds = dict.fromkeys((*channel.sent, *channel.told))
    found: Object = {
        "address": channel.address,
        "title": channel.title,
        "description": cleandoc(channel.description),
        "messages": {kind.__name__: _message_of(channel.wire, kind) for kind in kinds},
    }
    if channel.servers:
        found["servers"] = [{"$ref": f"#/servers/{name}"} for name in channel.servers]
    if channel.parameters:
        found["parameters"] = {name: {"description": words} for name, words in channel.parameters.items()}
    if not channel.answers and channel.address is not None:
        handshake: Object = {"method": "GET", "bindingVersion": "0.1.0"}
        for part, members in (("query", channel.query), ("headers", channel.headers)):
            if members:
                handshake[part] = {"type": "object", "properties": dict(members)}
        found["bindings"] = {"ws": handshake}
    return found


def _operations(channel: Channel) -> dict[str, Object]:
    """Return what clients send and what the gateway does; the actions are the gateway's."""
    security = {"security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in channel.security]}
    common: Object = {"channel": {"$ref": f"#/channels/{channel.name}"}, **(security if channel.security else {})}
    receive: Object = {"action": "receive", "title": f"{channel.title}: to the gateway", **common}
    receive["messages"] = _references(channel, channel.sent)
    if channel.answers:
        query = {"query": {"type": "object", "properties": dict(channel.query)}} if channel.query else {}
        receive["bindings"] = {"http": {"method": "POST", **query, "bindingVersion": "0.3.0"}}
        receive["reply"] = {"channel": common["channel"], "messages": _references(channel, channel.told)}
        return {f"{channel.name}.ask": receive}
    send: Object = {"action": "send", "title": f"{channel.title}: from the gateway", **common}
    send["messages"] = _references(channel, channel.told)
    return {
        **({f"{channel.name}.receive": receive} if channel.sent else {}),
        **({f"{channel.name}.send": send} if channel.told else {}),
    }


def _references(channel: Channel, kinds: Iterable[Kind]) -> list[Object]:
    return [{"$ref": f"#/channels/{channel.name}/messages/{kind.__name__}"} for kind in kinds]


def _message_of(wire: Wire, kind: Kind) -> Object:
    return {"$ref": f"#/components/messages/{wire.name}.{kind.__name__}"}


def _messages(wire: Wire) -> dict[str, Object]:
    """Return a wire's messages, each with the examples that are of its type."""
    shown: dict[Kind, list[Object]] = {kind: [] for kind in (*wire.types.sent, *wire.types.told)}
    for example in wire.examples:
        payload = payload_of(example)
        shown[kind_of(wire, example.direction, payload)].append({"name": example.name, "payload": payload})
    messages: dict[str, Object] = {}
    for kind, examples in shown.items():
        tag = kind.__struct_config__.tag
        message = {
            "name": tag if isinstance(tag, str) else kind.__name__,
            "title": kind.__name__,
            "summary": cleandoc(kind.__doc__ or "").splitlines()[0],
            "payload": reference(wire.name, kind),
        }
        messages[f"{wire.name}.{kind.__name__}"] = {**message, **({"examples": examples} if examples else {})}
    return messages


def payload_of(example: Example) -> Any:
    """Return an example's JSON: the frame, or of a server-sent event its data."""
    if example.text.startswith("event:"):
        (data,) = (line for line in example.text.splitlines() if line.startswith(EVENT_DATA))
        return json.loads(data.removeprefix(EVENT_DATA))
    return json.loads(example.text)


def kind_of(wire: Wire, direction: Direction, payload: Any) -> Kind:
    """Return the first type of a direction that a payload is of."""
    kinds = wire.types.sent if direction == "client" else wire.types.told
    assumed = wire.types.assumed
    for kind in kinds:
        config = kind.__struct_config__
        if config.tag is not None:
            default = assumed.__struct_config__.tag if assumed else None
            if payload.get(config.tag_field, default) != config.tag:
                continue
        try:
            msgspec.json.decode(json.dumps(payload), type=kind)
        except msgspec.ValidationError:
            continue
        return kind
    raise LookupError(f"an example of {wire.name} is of none of its types: {payload}")
