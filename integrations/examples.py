"""Real frames of each wire, as files in its folder `examples/`, for tests, the API's description and the playground.

`client_<name>.json` was sent by a client, `server_<name>.json` by the gateway; `.txt` where a frame is no JSON.
"""

from pathlib import Path
from typing import Literal

import msgspec

Direction = Literal["client", "server"]
DIRECTIONS: tuple[Direction, ...] = ("client", "server")


class Example(msgspec.Struct, frozen=True):
    """One frame: who sent it, and its text as it travels."""

    name: str
    direction: Direction
    text: str


def load(wire: str) -> tuple[Example, ...]:
    """Return a wire's examples: the clients' first, each in the order of their names."""
    return read(Path(__file__).parent / wire / "examples")


def read(folder: Path) -> tuple[Example, ...]:
    """Return the examples in a folder."""
    return tuple(
        Example(path.stem.removeprefix(f"{direction}_"), direction, _text(path))
        for direction in DIRECTIONS
        for path in sorted(folder.glob(f"{direction}_*"))
    )


def _text(path: Path) -> str:
    text = path.read_text("utf-8")
    return text.rstrip("\n") if path.suffix == ".json" else text
