"""The five wires have the same shape: whoever has read one folder knows his way in the others."""

import ast
import importlib
from pathlib import Path

import pytest

from integrations.capabilities import CAPABILITIES
from integrations.consumer import GatewayConsumer
from integrations.examples import DIRECTIONS, load
from integrations.rest import WireView
from tests.support.environment import ROOT

WIRES = ("contact", "langbot", "postoffice", "wechat", "yishiting")
ALWAYS = {"__init__.py", "README.md", "examples", "playground.py", "protocol.py", "translate.py"}
SOCKETS = {"consumers.py", "routing.py"}
HTTP = {"views.py", "serializers.py", "urls.py"}
# What a wire has beside these, and why.
MORE = {
    "contact": {"notices.py": "tells the owner"},
    "langbot": {
        "attachments.py": "the files of a message",
        "components.py": "what a message is made of",
        "files.py": "files over HTTP, beside the calls about pipelines",
        "handshake.py": "what a handshake asks for",
        "rich.py": "tells the web chat more",
    },
    "postoffice": {
        "courier.py": "carries questions to services",
        "line.py": "proves that a letter was read, and that a client is still there",
        "sorting.py": "decides where a letter goes",
    },
    "wechat": {"accounts.py": "logs in", "api.py": "speaks to WeChat"},
    "yishiting": {"callback.py": "posts answers back", "trace.py": "names an answer to the caller that may read it"},
}
README_SECTIONS = ("Limits", "Deviations")


def folder(wire: str) -> Path:
    return ROOT / "integrations" / wire


def files(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir() if entry.name != "__pycache__"}


def public_functions(module: Path) -> set[str]:
    body = ast.parse(module.read_text("utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}


def test_there_are_five_wires() -> None:
    assert {path.parent.name for path in (ROOT / "integrations").glob("*/protocol.py")} == set(WIRES)
    assert set(CAPABILITIES) == set(WIRES)


@pytest.mark.parametrize("wire", WIRES)
def test_a_folder_has_the_same_few_files(wire: str) -> None:
    present = files(folder(wire))
    assert present >= ALWAYS
    for together in (SOCKETS, HTTP):
        assert present & together in (set(), together)
    assert present & (SOCKETS | HTTP), "a wire is spoken over sockets or HTTP"
    assert present - ALWAYS - SOCKETS - HTTP == set(MORE[wire])


@pytest.mark.parametrize("wire", WIRES)
def test_a_protocol_parses_and_serialises(wire: str) -> None:
    assert {"parse", "serialise"} <= public_functions(folder(wire) / "protocol.py")


@pytest.mark.parametrize("wire", WIRES)
def test_a_consumer_and_its_views_are_of_the_shared_kind(wire: str) -> None:
    if "consumers.py" in files(folder(wire)):
        module = importlib.import_module(f"integrations.{wire}.consumers")
        kinds = [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, GatewayConsumer) and kind.__module__ == module.__name__
        ]
        assert [kind.wire for kind in kinds] == [wire]
        assert "urlpatterns" in public_functions(folder(wire) / "routing.py")
    if "views.py" in files(folder(wire)):
        module = importlib.import_module(f"integrations.{wire}.views")
        views = [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type) and kind.__module__ == module.__name__ and hasattr(kind, "as_view")
        ]
        assert views
        assert all(issubclass(view, WireView) for view in views)
        assert "urlpatterns" in public_functions(folder(wire) / "urls.py")


@pytest.mark.parametrize("wire", WIRES)
def test_its_tests_mirror_it(wire: str) -> None:
    tests, present = ROOT / "tests" / "integrations" / wire, files(folder(wire))
    wanted = {"test_protocol.py"}
    wanted |= {f"test_{name}" for name in ("consumers.py", "views.py") if name in present}
    assert files(tests) >= wanted


@pytest.mark.parametrize("wire", WIRES)
def test_it_has_examples_of_both_directions(wire: str) -> None:
    assert {example.direction for example in load(wire)} == set(DIRECTIONS)


@pytest.mark.parametrize("wire", WIRES)
def test_a_readme_tells_the_limits_and_where_we_deviate(wire: str) -> None:
    headings = [line for line in (folder(wire) / "README.md").read_text("utf-8").splitlines() if line.startswith("## ")]
    for section in README_SECTIONS:
        assert any(section in heading for heading in headings), section
