"""The environment of a process under test: what `.env.example` says, and nothing of the developer's.

A variable that is set wins over `.env`, so setting every name shuts out both the shell's values and `.env`.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Tells a process to measure its coverage.
MEASURED = "COVERAGE_PROCESS_CONFIG"
# What a gateway is given to which people log in.
QUICK = {"DJANGO_SETTINGS_MODULE": "tests.support.quick_settings"}
_LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$")


def defaults() -> dict[str, str]:
    """Return the names that `.env.example` lists, each with the default it states."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return {match[1]: match[2] for line in lines if (match := _LINE.match(line))}


def plain_environment(data_dir: Path, **changes: str) -> dict[str, str]:
    """Return a whole environment for a process: the machine's own, the documented defaults, then `changes`."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**kept, **defaults(), "DATA_DIR": str(data_dir), **changes}
