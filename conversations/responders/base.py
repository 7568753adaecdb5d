"""What a responder is: something that answers one question with a stream of text."""

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from conversations.types import Language, Reply, Role, Upload


class RouteConfig(msgspec.Struct, frozen=True):
    """One way to an answer, as configured on a pipeline.

    `match` and `pattern` say which questions it is for. `service` is a hub client's ID, `timeout` the seconds it has.
    `recall` hands passages of the pipeline's documents to a model. An empty `model` means the configured default;
    with `vision` it takes pictures.
    """

    kind: str
    match: str = "always"
    pattern: str = ""
    service: str = ""
    timeout: float = 20.0
    recall: bool = True
    system_prompt: str = ""
    model: str = ""
    vision: bool = False


class PipelineConfig(msgspec.Struct, frozen=True):
    """A pipeline as its turns see it; a snapshot, replaced when the row changes."""

    id: int
    uuid: UUID
    name: str
    description: str
    is_default: bool
    failure_text: str
    group_reply: Literal["mentioned", "always"]
    group_prefix: str
    public: bool
    routes: tuple[RouteConfig, ...]


class PastMessage(msgspec.Struct, frozen=True):
    """A message of the conversation so far, oldest first where there are several, and the files that came with it."""

    role: Role
    text: str
    files: tuple[Upload, ...] = ()


class Ask(msgspec.Struct, frozen=True):
    """One question put to a responder.

    `deadline` is on the event loop's monotonic clock; a responder that is still talking then is cancelled.
    `history` holds what was said before the question in this session's present epoch, oldest first. `turn` is unique
    to this question. `recall` is true or false where the asker decided what the route otherwise does. `called` is set
    where the question only asks for a person: whether one has been told of it. `files` came with the question, where
    the responder wants history.
    """

    question: str
    language: Language
    pipeline: PipelineConfig
    route: RouteConfig
    deadline: float
    history: Sequence[PastMessage] = ()
    turn: int = 0
    recall: bool | None = None
    called: bool | None = None
    files: Sequence[Upload] = ()


class ResponderError(Exception):
    """A responder cannot answer, or broke off; `str()` is for the log and carries no message text."""


class Busy(ResponderError):  # noqa: N818  names a state
    """A responder has too much to do; it may be asked again in a moment."""


class Responder(Protocol):
    """Answers questions of one kind of route.

    `wants_history` tells whether `Ask.history` and `Ask.files` are to be read for it. `repeatable` tells that asking
    twice does no harm: a turn that a dead worker left may then be run again although the responder had begun.
    """

    wants_history: bool
    repeatable: bool

    def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        """Yield increments of text, then exactly one Reply; raise ResponderError when it cannot.

        An increment that only names what the Reply cites is a SourceLine: pages show the citation in its place.
        Closing the generator cancels the work behind it.
        """
        ...


class ServiceReply(msgspec.Struct, frozen=True):
    """What a service said: all of its answer, or with `partial` the next increment of it."""

    text: str
    partial: bool = False


class Courier(Protocol):
    """Carries a question to a service, and its replies back."""

    async def is_connected(self, service: str) -> bool: ...

    def ask(self, service: str, question: str) -> AsyncGenerator[ServiceReply, None]:
        """Send the question and yield what the service itself replies, for ever; the caller sets the time.

        Raises ResponderError where a reply cannot be used. Closing the generator ends the conversation: what comes
        later is counted, and dropped.
        """
        ...
