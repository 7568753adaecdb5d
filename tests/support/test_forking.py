"""A forked process is as good as one that was started."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.environment import ROOT, plain_environment
from tests.support.forking import PRELOADED, ForkedProcess, run

TRAITS = f"""
import importlib.util, json, os, signal, sys
from django.conf import settings
print(json.dumps({{
    "pid": os.getpid(), "session": os.getsid(0), "folder": os.getcwd(), "arguments": sys.argv[:2],
    "settings": settings.SETTINGS_MODULE, "port": settings.PORT, "input": sys.stdin.read(),
    "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "environment": dict(os.environ),
    "not there": [name for name in {PRELOADED} if importlib.util.find_spec(name) is None],
}}))
print("a complaint", file=sys.stderr)
raise SystemExit(3)
"""


def test_it_has_what_is_its_own(tmp_path: Path) -> None:
    environment = plain_environment(tmp_path, PORT="8123")
    done = run(["shell", "--no-imports", "-c", TRAITS], environment, timeout=40)
    traits = json.loads(done.stdout)
    assert traits.pop("pid") == traits.pop("session") != os.getsid(0)
    assert traits.pop("environment") == {**environment, "DJANGO_SETTINGS_MODULE": "chatgateway.settings"}
    assert traits == {
        "folder": str(ROOT), "arguments": ["manage.py", "shell"], "settings": "chatgateway.settings", "port": 8123,
        "input": "", "interrupts": True, "not there": [],
    }  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "a complaint\n")


def test_it_can_be_waited_for_and_ended(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = ForkedProcess(
        ["shell", "--no-imports", "-c", "import signal; signal.pause()"],
        plain_environment(tmp_path),
        output=output,
        errors=output,
    )
    assert process.poll() is None
    with pytest.raises(TimeoutError, match="still runs after"):
        process.wait(0.01)
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM == process.poll()
    assert not Path(f"/proc/{process.pid}").exists()
