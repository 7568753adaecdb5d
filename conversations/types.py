"""What is said and what happens, as values. Pure: no Django, no Channels, no asyncio.

Times are aware datetimes in UTC. `seq` is gap-free per session and given at commit; `id` is unique and
grows over the whole database (`wire/langbot.md`).
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self
from uuid import UUID, uuid5

import msgspec

SessionType = Literal["person", "group"]
Language = Literal["zh-hans", "en"]
Opinion = Literal["up", "down"]  # a visitor's, of an answer
DEFAULT_ROOM = "default"
SESSION_NAME = 200  # characters that a session's name may have


class Role(StrEnum):
    """Who said a message."""

    USER = "user"
    ASSISTANT = "assistant"
    OPERATOR = "operator"
    NOTICE = "notice"  # the gateway, about the conversation: a person joins, or leaves


class Outcome(StrEnum):
    """How a turn ended."""

    ANSWERED = "answered"
    UNKNOWN = "unknown"  # an honest "I don't know"
    STOPPED = "stopped"  # by the visitor; what was said is kept
    CUT = "cut"  # by the deadline or a shutdown; what was said is kept
    FAILED = "failed"  # no responder could answer, or one broke off
    HANDED = "handed"  # to a person; what had been shown is kept


class SessionKey(msgspec.Struct, frozen=True):
    """Which conversation a message belongs to; `uuid` alone identifies it."""

    uuid: UUID
    pipeline: UUID
    session_type: SessionType
    name: str = ""


def room_key(pipeline: UUID, name: str) -> SessionKey:
    """Return the key of the group room `name` of a pipeline: the same name is the same room for everybody."""
    return SessionKey(uuid5(pipeline, f"group/{name}"), pipeline, "group", name)


def own_session(pipeline: UUID, wire: str, *names: str, name: str = "") -> SessionKey:
    """Return the key of the person session that a wire knows by `names`; `name` is what staff sees of it."""
    # As JSON, so that no two lists of names read the same.
    text = msgspec.json.encode((wire, *names)).decode()
    return SessionKey(uuid5(pipeline, text), pipeline, "person", name[:SESSION_NAME])


Span = tuple[int, int]  # the characters of a text from one on to before another


class Citation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A passage that an answer was made from; `score` is comparable within one answer only.

    `named` is where the answer's text names it, for those who are shown no citations.
    """

    doc_id: str
    space_id: str
    title: str
    url: str
    score: float
    named: tuple[Span, ...] = ()


class SourceLine(str):
    """Words of an answer that only name the document `doc_id`, with what sets them apart from the words before."""

    __slots__ = ("doc_id",)
    doc_id: str

    def __new__(cls, words: str, doc_id: str) -> Self:
        """Return the words; whoever asks for no more has a text like any other."""
        line = super().__new__(cls, words)
        line.doc_id = doc_id
        return line


def without(text: str, spans: Iterable[Span]) -> str:
    """Return a text without some of it."""
    kept, at = [], 0
    for start, end in sorted(spans):
        kept.append(text[at:start])
        at = end
    return "".join((*kept, text[at:]))


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a model call took, as its server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Sender(msgspec.Struct, frozen=True):
    """Who spoke where the role alone does not say it: an operator by name."""

    kind: str
    name: str


class Upload(msgspec.Struct, frozen=True):
    """A file that was sent, as committed; who has its key may read it. Pictures have a size in pixels, as shown."""

    key: str
    kind: Literal["image", "document"]
    name: str
    media_type: str
    size: int
    width: int | None = None
    height: int | None = None


class Question(msgspec.Struct, frozen=True):
    """Something a person said, on its way in.

    `text` is the readable form, `components` the wire's own list as JSON text (echoed as it came; empty where
    the text says it all), `prompt` what is to be answered where that is not all of the text.
    `wants_answer` false stores and echoes the message without opening a turn.
    `client_msg_id` makes it idempotent for 24 h within its session; with `retry_failed` one that ended without a
    complete answer may be asked again. `recall` true has the documents searched whatever the pipeline's routes say.
    `needs_end`: who asks can be told nothing later, so where a person holds the conversation a notice is his answer.
    `contact` opens a contact request of that UUID; with `only_contact` its answer says so and no responder is asked.
    With `notify` the answer, once stored, is delivered out of the outbox by whoever delivers that kind, also where the
    same question was asked before without it. `uploads` are the keys of files that belong to it.
    """

    session: SessionKey
    wire: str
    text: str
    prompt: str = ""
    components: str = ""
    connection_id: str = ""
    client_msg_id: str | None = None
    application: UUID | None = None
    wants_answer: bool = True
    stream: bool = True
    retry_failed: bool = False
    recall: bool | None = None
    needs_end: bool = False
    contact: UUID | None = None
    escalated: bool = False
    only_contact: bool = False
    user_agent: str = ""
    notify: str = ""
    uploads: tuple[str, ...] = ()


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as committed.

    On an answer, `reply_to` is the connection that asked, `question_id` the question's message, and `outcome` how the
    turn ended. `request_id` is the client message id: its own, or on an answer its question's. `files` are those that
    an operator sent with it, in his order; a visitor's are in `components`.
    """

    id: int
    session: UUID
    session_type: SessionType
    seq: int
    role: Role
    text: str
    timestamp: datetime
    components: str = ""
    connection_id: str = ""
    reply_to: str = ""
    citations: tuple[Citation, ...] = ()
    sender: Sender | None = None
    question_id: int | None = None
    request_id: str = ""
    outcome: Outcome | None = None
    files: tuple[Upload, ...] = ()

    @property
    def text_beside_citations(self) -> str:
        """The text for those who are shown the citations: it does not name them once more."""
        return without(self.text, (span for citation in self.citations for span in citation.named))


class Turn(msgspec.Struct, frozen=True):
    """One question being answered. `id` is the id reserved for the answer's message, `question_id` the question's."""

    id: int
    session: SessionKey
    session_id: int
    epoch: int
    question: str
    question_id: int
    question_seq: int
    language: Language
    reply_to: str
    stream: bool
    started: datetime
    partial: str = ""
    begun: bool = False
    ends_as: Outcome | None = None  # it only needs its end: nobody waits, or a person holds the conversation
    request_id: str = ""
    recall: bool | None = None
    has_files: bool = False


class Accepted(msgspec.Struct, frozen=True):
    """What became of a question: stored now, or found stored under the same client message id.

    `turn` is set when this process is to run it now; it is None when nothing is to be answered, when another turn of
    the session is ahead of it, and for a duplicate. `answer_id` is the id that the answer has or will have, None where
    none is wanted. `answer` is a duplicate's answer, once there is one.
    """

    message: StoredMessage
    turn: Turn | None = None
    duplicate: bool = False
    answer_id: int | None = None
    answer: StoredMessage | None = None


class Reply(msgspec.Struct, frozen=True):
    """How a responder's answer ended; its text is what was streamed before."""

    citations: tuple[Citation, ...] = ()
    usage: Usage | None = None
    known: bool = True


# --- Events, published on a topic --------------------------------------------------------------


class MessageStored(msgspec.Struct, frozen=True, tag=True):
    """A message was committed; the one event of a session that carries a `seq`."""

    message: StoredMessage

    @property
    def seq(self) -> int | None:
        return self.message.seq

    @property
    def ends(self) -> int:
        """The id up to which no answer grows any more: with an answer's end, and when somebody joins or leaves."""
        return self.message.id if self.message.role in (Role.ASSISTANT, Role.NOTICE) else 0


class ReplyDelta(msgspec.Struct, frozen=True, tag=True):
    """The answer so far. `text` is cumulative, so a receiver may miss any of these.

    `named` is where it names sources that its end will cite.
    """

    id: int
    session_type: SessionType
    text: str
    timestamp: datetime
    reply_to: str = ""
    question_id: int | None = None
    named: tuple[Span, ...] = ()

    @property
    def text_beside_citations(self) -> str:
        """The text for those who are shown the citations at its end."""
        return without(self.text, self.named)

    @property
    def seq(self) -> int | None:
        return None

    @property
    def part_of(self) -> int:
        """The id of the answer that grows."""
        return self.id


class Broadcast(msgspec.Struct, frozen=True, tag=True):
    """Words to every socket of a pipeline, or to those of one `wire`; `message` is any JSON."""

    message: msgspec.Raw
    timestamp: datetime
    wire: str = ""

    def is_for(self, wire: str) -> bool:
        """Tell whether the sockets of a wire are meant."""
        return self.wire in ("", wire)

    @property
    def seq(self) -> int | None:
        return None


class SessionReset(msgspec.Struct, frozen=True, tag=True):
    """A session begins anew: whatever has an id below `first_id` is over, also an answer that still grows."""

    first_id: int

    @property
    def seq(self) -> int | None:
        return None


class StopRequested(msgspec.Struct, frozen=True, tag=True):
    """Somebody asked that an answer of a session stops; whoever runs it ends it. Without `turn`: the running one."""

    session: UUID
    turn: int | None = None
    outcome: Outcome = Outcome.STOPPED

    @property
    def seq(self) -> int | None:
        return None


Event = MessageStored | ReplyDelta | Broadcast | SessionReset | StopRequested


# --- Topics ------------------------------------------------------------------------------------


class SessionTopic(msgspec.Struct, frozen=True):
    """Everything that happens in one session, in order of `seq`."""

    session: UUID

    @property
    def name(self) -> str:
        return f"session/{self.session}"


class PipelineTopic(msgspec.Struct, frozen=True):
    """Every socket of a pipeline with one session type."""

    pipeline: UUID
    session_type: SessionType

    @property
    def name(self) -> str:
        return f"pipeline/{self.pipeline}/{self.session_type}"


class ControlTopic(msgspec.Struct, frozen=True):
    """Requests to the processes themselves."""

    @property
    def name(self) -> str:
        return "control"
