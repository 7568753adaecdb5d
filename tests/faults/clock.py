"""A wall clock that jumps under a process, while its monotonic clock goes on: libfaketime, from its wheel.

clock = WallClock(tmp_path)
gateway = start_gateway(environment=clock.environment, prefix=clock.prefix)
clock.jump(3600)
"""

from pathlib import Path

import libfaketime  # type: ignore[import-untyped]  # of which its library is used, nothing else

LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


class WallClock:
    """The wall clock of the processes that are started with its `environment`, and what they are started with."""

    prefix = ("env",)  # started anew, not forked: the library has to be there first

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # it looks for a jump once a second
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else each wait for a lock keeps a processor busy
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Set the clock to so many seconds ahead of the real one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)  # at once: it is read at any time
