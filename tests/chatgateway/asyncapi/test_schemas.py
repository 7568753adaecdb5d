"""A wire's types as JSON Schemas: what is refused of one is refused by the other."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from chatgateway.asyncapi.schemas import Types, schemas_of
from integrations.fields import SHOWN_AS


class Word(msgspec.Struct, frozen=True, tag=True):
    """A word."""

    text: Annotated[str, msgspec.Meta(max_length=5)]


class Rest(msgspec.Struct, frozen=True):
    """Anything else."""


class Sentence(msgspec.Struct, frozen=True, tag_field="type", tag="sentence", rename={"said_at": "saidAt"}):
    """Words.

    More of them.
    """

    words: Annotated[list[Any], msgspec.Meta(max_length=9, extra={SHOWN_AS: list[Word | Rest]})]
    said_at: str | int = ""
    loud: bool | None = None


class Echo(msgspec.Struct, frozen=True, tag_field="type", tag="echo", omit_defaults=True):
    """What was said."""

    words: Annotated[msgspec.Raw | list[Any], msgspec.Meta(extra={SHOWN_AS: list[Word | Rest]})]
    seq: int | None = None
    kind: Literal["a", "b"] = "a"


class Plain(msgspec.Struct, frozen=True, tag_field="type", tag="plain"):
    """A frame that is always whole."""

    code: int = 0
    data: str | None = None
    seq: int | msgspec.UnsetType = msgspec.UNSET


def properties(**more: Any) -> dict[str, Any]:
    schemas = schemas_of("w", Types((Sentence, Rest), (Echo, Plain), **more))
    return {name: schema["properties"] for name, schema in schemas.items()}


def test_every_type_has_its_schema_below_the_prefix() -> None:
    schemas = schemas_of("w", Types((Sentence, Rest), (Echo, Plain)))
    assert schemas.keys() == {"w.Sentence", "w.Rest", "w.Echo", "w.Plain", "w.Word"}
    assert schemas["w.Sentence"]["description"] == "Words.\n\nMore of them."
    assert schemas["w.Sentence"]["required"] == ["type", "words"]


def test_a_list_of_anything_is_shown_as_what_it_holds() -> None:
    items = {"anyOf": [{"$ref": "#/components/schemas/w.Word"}, {"$ref": "#/components/schemas/w.Rest"}]}
    assert properties()["w.Sentence"]["words"] == {"type": "array", "items": items, "maxItems": 9}
    assert properties()["w.Echo"]["words"] == {"type": "array", "items": items}


def test_what_a_client_sends_has_its_names_and_bounds() -> None:
    assert properties()["w.Word"]["text"] == {"type": "string", "maxLength": 5}
    assert properties()["w.Sentence"]["saidAt"] == {"type": ["string", "integer"], "default": ""}


def test_null_is_as_good_as_nothing_where_the_wire_says_so() -> None:
    assert properties(null_is_missing=True)["w.Sentence"]["saidAt"] == {
        "type": ["string", "integer", "null"],
        "default": "",
    }
    assert properties(null_is_missing=True)["w.Sentence"]["loud"] == {"type": ["boolean", "null"], "default": None}


def test_what_the_gateway_writes_is_told_as_it_is_written() -> None:
    schemas = schemas_of("w", Types((Sentence, Rest), (Echo, Plain)))
    assert schemas["w.Echo"]["required"] == ["type", "words"]
    assert schemas["w.Echo"]["properties"]["seq"] == {"type": "integer"}
    assert schemas["w.Echo"]["properties"]["kind"] == {"enum": ["a", "b"]}
    assert schemas["w.Plain"]["required"] == ["type", "code", "data"]
    assert schemas["w.Plain"]["properties"]["data"] == {"type": ["string", "null"]}
    assert schemas["w.Plain"]["properties"]["seq"] == {"type": "integer"}


def test_a_type_without_a_tag_is_whatever_has_none_of_the_others() -> None:
    assert properties()["w.Rest"] == {"type": {"type": "string", "not": {"enum": ["Word"]}}}


def test_a_frame_without_a_type_may_be_one() -> None:
    schemas = schemas_of("w", Types((Sentence,), (), assumed=Sentence))
    assert schemas["w.Sentence"]["required"] == ["words"]


def test_two_types_of_one_name_are_an_error() -> None:
    other = msgspec.defstruct("Plain", ["text"])
    with pytest.raises(AssertionError, match="w"):
        schemas_of("w", Types((other,), (Plain,)))
