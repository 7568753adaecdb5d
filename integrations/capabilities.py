"""What each wire can do; a row for each."""

import msgspec


class Capabilities(msgspec.Struct, frozen=True):
    """What a wire can carry beside a question and its answer.

    `stream`: an answer as it grows. `resume`: what was missed, after a reconnect. `push`: words nobody asked for, such
    as an operator's. `groups`: several people in one session. `broadcast`: words to every socket of a pipeline.
    `files`: pictures and documents, of which all others tell in words. `retract`: taking a message back.
    """

    stream: bool = False
    resume: bool = False
    push: bool = False
    groups: bool = False
    broadcast: bool = False
    files: bool = False
    retract: bool = False


CAPABILITIES: dict[str, Capabilities] = {
    "langbot": Capabilities(stream=True, resume=True, push=True, groups=True, broadcast=True, files=True),
    "postoffice": Capabilities(push=True),
    "contact": Capabilities(stream=True, resume=True, push=True, broadcast=True),
    "yishiting": Capabilities(stream=True),
    "wechat": Capabilities(stream=True, resume=True),
}
