"""What each wire can do; a row for each."""

import msgspec


class Capabilities(msgspec.Struct, frozen=True):
    """Whether a wire streams answers, replays after a reconnect, is pushed to, and has groups."""

    stream: bool
    resume: bool
    push: bool
    groups: bool


CAPABILITIES: dict[str, Capabilities] = {
    "langbot": Capabilities(stream=True, resume=True, push=True, groups=True),
}
