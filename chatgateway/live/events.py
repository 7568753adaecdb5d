"""What staff's pages are woken by. Pure."""

from typing import Literal

import msgspec

What = Literal["connections", "conversations"]


class StaffTopic(msgspec.Struct, frozen=True):
    """Every open page of staff."""

    @property
    def name(self) -> str:
        return "staff"


class Changed(msgspec.Struct, frozen=True, tag=True):
    """What staff's pages show of `what` is out of date; one that is lost is healed by the page's next look."""

    what: What

    @property
    def seq(self) -> int | None:
        return None
