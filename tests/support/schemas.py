"""JSON Schemas as hypothesis reads them: what one accepts. Only what our own documents use of them is known."""

import re
from typing import Any

import jsonschema
from hypothesis import strategies as st

from tests.support.frames import any_json

Schema = dict[str, Any]
# Letters that JSON may hold and the gateway takes: no NUL, no half of a surrogate pair.
CLEAN = st.characters(codec="utf-8", exclude_characters="\0")
KNOWN = {
    *("anyOf", "type", "enum", "not", "properties", "required", "items", "maxItems", "uniqueItems", "minLength"),
    *("maxLength", "pattern", "format", "minimum", "maximum", "title", "description", "default"),
}


class Document:
    """A document with schemas that refer to each other."""

    def __init__(self, document: Schema) -> None:
        self._document = document

    def validator(self, schema: Schema) -> jsonschema.Draft7Validator:
        """Return what checks values against a schema of the document."""
        return jsonschema.Draft7Validator({**schema, "components": self._document["components"]})

    def accepted(self, schema: Schema) -> st.SearchStrategy[Any]:
        """Return values that a schema accepts, those at its bounds among them."""
        if "$ref" in schema:
            return st.deferred(lambda: self.accepted(self._target(schema["$ref"])))
        assert schema.keys() <= KNOWN, schema
        if "anyOf" in schema:
            return st.one_of([self.accepted(option) for option in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        kinds = schema.get("type", "anything")
        return st.one_of([self._of(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])

    def _target(self, reference: str) -> Schema:
        target: Any = self._document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        found: Schema = target
        return found

    def _of(self, kind: str, schema: Schema) -> st.SearchStrategy[Any]:
        match kind:
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(schema.get("minimum"), schema.get("maximum"))
            case "number":
                return st.floats(allow_nan=False, allow_infinity=False)
            case "string":
                return self._text(schema)
            case "array":
                items = self.accepted(schema["items"]) if "items" in schema else any_json
                return st.lists(items, max_size=min(schema.get("maxItems", 3), 3), unique="uniqueItems" in schema)
            case "object":
                return self._object(schema)
            case _:
                return any_json

    def _text(self, schema: Schema) -> st.SearchStrategy[str]:
        if schema.get("format") == "uuid":
            return st.uuids().map(str)
        least, most = schema.get("minLength", 0), schema.get("maxLength", 20)
        texts = st.text(CLEAN, min_size=least, max_size=min(most, 20)) | st.just("字" * most)
        if "pattern" in schema:
            texts = texts.filter(lambda text: re.search(schema["pattern"], text) is not None)
        if "not" in schema:
            texts = texts.filter(lambda text: text not in schema["not"]["enum"])
        return texts

    def _object(self, schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
        members = {name: self.accepted(member) for name, member in schema.get("properties", {}).items()}
        required = schema.get("required", [])
        return st.fixed_dictionaries(
            {name: members[name] for name in required},
            optional={name: member for name, member in members.items() if name not in required},
        )
