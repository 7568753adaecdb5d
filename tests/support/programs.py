"""Programs of other people, each in a process of its own; what they print goes into a file."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NoReturn, Self

import pytest

from tests.support.environment import ROOT
from tests.support.waiting import wait_until

PATIENCE = 30.0
# The documents' own dependencies; make installs them.
PYTHON = ROOT / ".venv" / "documents" / "bin" / "python"


def lacking(what: str) -> NoReturn:
    """Skip the test for want of something; fail on CI, which installs everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has no {what}")
    pytest.skip(f"there is no {what}")


def tool(name: str) -> str:
    """Return where a program of the machine is; without it there is no test."""
    # Debian's nginx lies where only root looks.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or lacking(name)


class Program:
    """A program that was started; it ends with the `with` block. `folder` is where it runs and what it sees of ours.

    Its environment is a stranger's: nothing of this project is in it.
    """

    def __init__(self, *command: str | Path, folder: Path, name: str = "program", **environment: str) -> None:
        self._output = folder / f"{name}.out"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "HOME": str(folder),
                    "LANG": "C.UTF-8",
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """Everything it has printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def until(self, *texts: str, timeout: float = PATIENCE) -> str:
        """Return its output once it has printed all of `texts`."""

        def printed() -> bool:
            running, output = self.running, self.output
            done = all(text in output for text in texts)
            assert done or running, f"it ended without {texts}:\n{output}"
            return done

        wait_until(printed, timeout=timeout, what=f"{texts}", detail=lambda: self.output)
        return self.output

    def finished(self, timeout: float = PATIENCE) -> str:
        """Return everything that it printed, once it has ended as it should."""
        wait_until(lambda: not self.running, timeout=timeout, what="its end", detail=lambda: self.output)
        assert self._process.returncode == 0, self.output
        return self.output

    def type(self, line: str) -> None:
        """Give it a line of input, as a person at its console."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def freeze(self) -> None:
        """Let it do nothing more, with its connections left open."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it in any case."""
        assert self._process.stdin is not None
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()


def python(code: str, *, folder: Path, name: str) -> Program:
    """Start a Python program of a document with the packages that the document names."""
    if not PYTHON.exists():
        lacking(f"{PYTHON.relative_to(ROOT)}; make makes it")
    script = folder / f"{name}.py"
    script.write_text(code, encoding="utf-8")
    return Program(PYTHON, script, folder=folder, name=name)


def shell(code: str, *, folder: Path, name: str = "shell") -> Program:
    """Start shell commands of a document, which call curl; its progress stays out of what they print."""
    tool("curl")
    (folder / ".curlrc").write_text("no-progress-meter\n")
    return Program("sh", "-c", code, folder=folder, name=name)
