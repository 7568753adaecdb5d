"""A document as text: YAML for people, JSON for programs. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

CONTENT_TYPES = {"yaml": "application/yaml; charset=utf-8", "json": "application/json"}


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, and what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def section(name: str, content: Any, form: str) -> str:
    """Return a member of a document in one of the forms of CONTENT_TYPES."""
    if form == "json":
        return msgspec.json.encode({name: content}).decode()[1:-1]
    return yaml.dump({name: content}, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


def joined(sections: Iterable[str], form: str) -> str:
    """Return the document that has these members."""
    return f"{{{','.join(sections)}}}" if form == "json" else "".join(sections)
