"""What the project says about itself is true: its settings, its commands, its import rules."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.environment import ROOT, defaults, plain_environment

READERS = {"_whole_number", "_seconds", "_choice", "_switch"}
# What a make that runs these tests leaves in the environment for the makes below it.
OUTER_MAKE = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
COMPUTED = ""  # the example shows nothing where the default depends on other settings


def calls() -> dict[str, ast.Call]:
    """Return the calls by which settings.py reads the environment, by the name they read."""
    tree = ast.parse((ROOT / "chatgateway" / "settings.py").read_text(encoding="utf-8"))
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func)
            if function in READERS or function in {"env.str", "env.list", "env.int", "env.float", "env.bool"}:
                found[str(node.args[0].value)] = node
    return found


def stated_default(call: ast.Call) -> str:
    """Return the default that a call states, written as in `.env`."""
    given = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "default")]
    match given[0]:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            value = ast.literal_eval(left) * ast.literal_eval(right)
        case ast.Constant() | ast.List() as literal:
            value = ast.literal_eval(literal)
        case _:
            return COMPUTED
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def make(*arguments: str) -> str:
    """Return what make prints when a person calls it."""
    environment = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_example_lists_every_setting_and_no_other() -> None:
    assert calls().keys() == defaults().keys()


@pytest.mark.parametrize("name", sorted(defaults()))
def test_the_example_states_the_default(name: str) -> None:
    assert defaults()[name] == stated_default(calls()[name])


def test_the_tests_do_not_see_the_developers_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    environment = plain_environment(tmp_path, WORKERS="2")
    assert (environment["PORT"], environment["WORKERS"]) == ("8000", "2")
    assert environment["DATA_DIR"] == str(tmp_path)
    assert "DJANGO_SETTINGS_MODULE" not in environment
    assert settings.DATA_DIR != ROOT / "data"


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=plain_environment(tmp_path, PORT="none"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.strip() == "Configuration error: PORT must be a whole number of at least 1, not 'none'."


def test_the_example_says_what_each_setting_means() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if re.match(r"^#[A-Z]", line):
            assert above.startswith("#"), f"nothing is said of {line}"


def test_help_lists_every_command_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"^\.PHONY: (\S+)", makefile, flags=re.MULTILINE))
    assert commands == set(re.findall(r"^  make (\S+)", make("help"), flags=re.MULTILINE))
    assert {"run", "test", "check", "lint", "types", "bench", "lock"} <= commands


def test_coverage_is_held_over_the_whole_of_the_three_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    # As under `make test ARGS="-k tooling"`.
    monkeypatch.setenv("ARGS", "-k tooling")
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=-k\\ tooling")
    recipe = make("--dry-run", "test")
    # A pattern, not what a shell made of it: that would leave the packages inside them out.
    assert '--include="conversations/*,connections/*,integrations/*"' in recipe
    assert "--fail-under=90" in recipe


def test_only_the_whole_suite_is_shared_out_over_processes() -> None:
    assert "--numprocesses" in make("--dry-run", "test")
    assert "--numprocesses" not in make("--dry-run", "test", "ARGS=-k tooling")
    assert "--numprocesses" not in make("--dry-run", "faults")


def test_every_wire_is_under_the_independence_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (independent,) = (contract["modules"] for contract in contracts if contract["type"] == "independence")
    wires = {path.parent.name for path in (ROOT / "integrations").glob("*/__init__.py")}
    assert {f"integrations.{wire}" for wire in wires} == set(independent)


def test_ci_is_executable_and_stops_at_the_first_failure() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
