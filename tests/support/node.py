"""JavaScript of other people, in Node."""

from pathlib import Path

from tests.support.environment import ROOT
from tests.support.programs import Program, lacking, tool

HARNESS = ROOT / "tests" / "documents"
# tests/documents/package.json; make installs it.
MODULES = ROOT / ".venv" / "node" / "node_modules"


def node(harness: str, *arguments: str | Path, folder: Path, name: str = "node") -> Program:
    """Start a script of tests/documents; npm's packages are where `require` looks."""
    command = tool("node")
    if not MODULES.exists():
        lacking(f"{MODULES.relative_to(ROOT)}; make makes it where npm is installed")
    return Program(command, HARNESS / harness, *arguments, folder=folder, name=name, NODE_PATH=str(MODULES))


def console(code: str, *, folder: Path, name: str) -> Program:
    """Start a browser's program in Node; a line of input is evaluated in its world."""
    script = folder / f"{name}.js"
    script.write_text(code, encoding="utf-8")
    return node("console.js", script, folder=folder, name=name)
