"""JSON Schemas of a wire's types, as AsyncAPI takes them (draft 07). Pure."""

from collections.abc import Iterable, Iterator, Sequence
from inspect import cleandoc
from typing import Any, get_args

import msgspec
from msgspec import inspect

from integrations.fields import SHOWN_AS

Schema = dict[str, Any]
NULL: Schema = {"type": "null"}
Kind = type[msgspec.Struct]


class Types(msgspec.Struct, frozen=True):
    """What travels on a wire: `sent` by clients, `told` by the gateway.

    `assumed` is the frame that one without a type is; with `null_is_missing` a null is as good as no member.
    """

    sent: tuple[Kind, ...]
    told: tuple[Kind, ...]
    assumed: Kind | None = None
    null_is_missing: bool = False


def reference(prefix: str, kind: Kind) -> Schema:
    """Return the reference to a type's schema."""
    return {"$ref": f"#/components/schemas/{prefix}.{kind.__name__}"}


def schemas_of(prefix: str, types: Types) -> dict[str, Schema]:
    """Return the schemas of a wire's types and of all that is in them, by their names below `prefix`."""
    read, written = _within(types.sent), _within(types.told)
    kinds = {**read, **written}
    assert len({kind.__name__ for kind in kinds}) == len(kinds), f"two types of {prefix} have the same name"
    template = f"#/components/schemas/{prefix}.{{name}}"
    _, found = msgspec.json.schema_components(list(kinds), ref_template=template)
    # Tuples among the defaults become lists.
    schemas: dict[str, Schema] = msgspec.json.decode(msgspec.json.encode(found))
    for kind, fields in kinds.items():
        schema = schemas[kind.__name__]
        schema["description"] = cleandoc(kind.__doc__ or "")
        for field in fields:
            if members := _shown_as(field):
                items = {"anyOf": [reference(prefix, member) for member in members]}
                schema["properties"][field.encode_name] = {"type": "array", "items": items, **_bound(field)}
        if kind in read:
            _loosen(schema, null_is_missing=types.null_is_missing)
        else:
            _tighten(schema, kind, fields)
    for union in (types.sent, *filter(None, (_shown_as(field) for fields in kinds.values() for field in fields))):
        _describe_the_rest(schemas, union)
    if types.assumed is not None:
        schemas[types.assumed.__name__]["required"].remove("type")
    return {f"{prefix}.{name}": _tidy(schema) for name, schema in schemas.items()}


def _within(kinds: Iterable[Kind]) -> dict[Kind, tuple[inspect.Field, ...]]:
    """Return the types with their fields, and those of all that is in them."""
    found: dict[Kind, tuple[inspect.Field, ...]] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop(0)
        if kind in found:
            continue
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        found[kind] = info.fields
        for field in info.fields:
            waiting.extend(_shown_as(field) or _structs(field.type))
    return found


def _structs(info: inspect.Type) -> Iterator[Kind]:
    match info:
        case inspect.StructType():
            yield info.cls
        case inspect.Metadata():
            yield from _structs(info.type)
        case inspect.CollectionType():
            yield from _structs(info.item_type)
        case inspect.DictType():
            yield from _structs(info.value_type)
        case inspect.UnionType():
            for member in info.types:
                yield from _structs(member)


def _shown_as(field: inspect.Field) -> tuple[Kind, ...]:
    """Return the members of the list that a field is shown as; none where it is shown as it is."""
    if not isinstance(field.type, inspect.Metadata):
        return ()
    (union,) = get_args((field.type.extra or {}).get(SHOWN_AS)) or ((),)
    return get_args(union)


def _bound(field: inspect.Field) -> Schema:
    info = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
    longest = getattr(info, "max_length", None)
    return {} if longest is None else {"maxItems": longest}


def _loosen(schema: Schema, *, null_is_missing: bool) -> None:
    """Let a member that need not be there be null, where the wire does."""
    for name, member in schema["properties"].items():
        if not null_is_missing or name in schema["required"]:
            continue
        default = {"default": member.pop("default")} if "default" in member else {}
        options = [option for option in member.get("anyOf", [member]) if option != NULL]
        schema["properties"][name] = {"anyOf": [*options, NULL], **default}


def _tighten(schema: Schema, kind: Kind, fields: Sequence[inspect.Field]) -> None:
    """Say what the gateway always writes, and leave out what it never does."""
    config = kind.__struct_config__
    sparse = {
        field.name
        for field in msgspec.structs.fields(kind)
        if not field.required and (config.omit_defaults or field.default is msgspec.UNSET)
    }
    for field in fields:
        member = schema["properties"][field.encode_name]
        absent = member.pop("default", msgspec.UNSET)
        if field.name not in sparse:
            if field.encode_name not in schema["required"]:
                schema["required"].append(field.encode_name)
        elif absent is None and "anyOf" in member:
            member["anyOf"].remove(NULL)


def _describe_the_rest(schemas: dict[str, Schema], union: Sequence[Kind]) -> None:
    """Say of a type without a tag, among others with one, that it is whatever has none of their tags."""
    tags = [kind.__struct_config__.tag for kind in union if kind.__struct_config__.tag is not None]
    for kind in union:
        if tags and kind.__struct_config__.tag is None:
            schemas[kind.__name__] |= {
                "properties": {"type": {"type": "string", "not": {"enum": tags}}},
                "required": ["type"],
            }


def _tidy(schema: Schema) -> Schema:
    """Return an object's schema as a person would write it: no choice of one, types in a list, in their order."""
    schema["properties"] = {name: _folded(member) for name, member in schema["properties"].items()}
    schema["required"] = [name for name in schema["properties"] if name in schema["required"]]
    if not schema["required"]:
        del schema["required"]
    return schema


def _folded(member: Schema) -> Schema:
    """Return a choice of plain types as one schema; what bounds one of them says nothing of the others."""
    options: list[Schema] = member.get("anyOf", [])
    if len(options) == 1:
        return {**options[0], **{name: value for name, value in member.items() if name != "anyOf"}}
    bounds = [name for option in options for name in option if name != "type"]
    if not options or len(set(bounds)) < len(bounds) or not all(_is_plain(option) for option in options):
        return member
    merged = {name: value for option in options for name, value in option.items()}
    rest = {name: value for name, value in member.items() if name != "anyOf"}
    return {**merged, "type": [option["type"] for option in options], **rest}


def _is_plain(option: Schema) -> bool:
    return "enum" not in option and option.get("type") in ("string", "integer", "number", "boolean", "null")
