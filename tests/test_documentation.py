"""What the documents say of the code is true: their links, their numbers, their frames."""

import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from integrations.langbot.protocol import ServerFrame, Unknown, parse
from tests.support.environment import ROOT

WIRE = ROOT / "integrations" / "langbot" / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def documents() -> list[Path]:
    """Return our Markdown files; what the gateway answers from is tested with its answers."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed if not name.startswith("docs/product/") and (ROOT / name).exists()]


def bounds() -> list[tuple[str, str]]:
    """Return constant and value of every row of the table of bounds."""
    rows = re.findall(r"^\|[^|]+\| `([\w.]+)` \| ([\d.]+) \|[^|]+\|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 30
    return rows


def examples(heading: str) -> list[str]:
    """Return the frames in one section of the wire's README."""
    section = WIRE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```json\n(.+?)\n```", section, re.DOTALL)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_ours_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text("utf-8")):
        assert link.startswith("https://") or (document.parent / link).exists(), link


@pytest.mark.parametrize(("constant", "value"), bounds())
def test_every_bound_is_as_the_table_says(constant: str, value: str) -> None:
    module, name = constant.rsplit(".", 1)
    actual = getattr(settings if module == "settings" else importlib.import_module(module), name)
    assert getattr(actual, "amount", actual) == float(value)  # a rate limit: so many in its time


def test_every_example_of_a_client_s_frame_is_understood() -> None:
    frames = [parse(example) for example in examples("Client to server")]
    assert len(frames) == 6
    assert not any(isinstance(frame, Unknown) for frame in frames)


def test_there_is_an_example_of_every_frame_of_ours() -> None:
    shown = {json.loads(example)["type"] for example in examples("Server to client")}
    assert shown == {kind.__struct_config__.tag for kind in ServerFrame.__args__}


def test_every_event_that_an_operator_is_told_of_is_logged() -> None:
    table = (ROOT / "docs" / "operations.md").read_text("utf-8").split("\n| event | means |\n")[1].split("\n\n")[0]
    events = [
        event for row in table.splitlines()[1:] for event in re.findall(r"`([a-z_]+\.[a-z_]+)`", row.split("|")[1])
    ]
    packages = ("chatgateway", "connections", "conversations", "integrations")
    code = "".join(path.read_text("utf-8") for package in packages for path in (ROOT / package).rglob("*.py"))
    assert len(events) > 30
    assert [event for event in events if f'"{event}"' not in code] == []


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_parts_and_is_short(record: Path) -> None:
    lines = record.read_text("utf-8").splitlines()
    assert lines[0].startswith(f"# {record.name[:4]} ")
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
    assert len(lines) < 40
