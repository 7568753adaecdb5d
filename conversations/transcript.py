"""A session's transcript as staff read it: every epoch, how each answer ended, and the answer that is under way."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import msgspec
from django.db.models import Case, F, JSONField, Q, When
from django.db.models.functions import Left
from django.utils import timezone

from conversations import markdown
from conversations.models import ChatSession, Message, Note, Turn
from conversations.selectors import files_in, opinions
from conversations.types import Citation, Outcome, Upload
from conversations.uploads.selectors import uploads_of
from conversations.uploads.words import words_in

PAGE = 500  # messages
NOTE = "note"  # the role of a line that operators read only
SHOWN_CHARACTERS = 20_000  # of one message; the rest of a giant one helps no reader
RENDERED = 32 * 1024  # characters of a page's answers that are shown as Markdown; what is older as it was written


@dataclass(frozen=True)
class Line:
    """One bubble. `note` says what is unusual about it; `new_day` and `after_reset` ask for a separator before it.

    `opinion` is what the visitor thinks of it; `turn` is set on an answer that is not finished. `html` is safe to show,
    on what the bot says: people's words are text.
    """

    role: str
    text: str
    at: datetime
    html: str = ""
    seq: int | None = None
    sender: str = ""
    citations: tuple[Citation, ...] = ()
    files: tuple[Upload, ...] = ()
    outcome: str = ""
    note: str = ""
    details: str = ""
    opinion: str = ""
    turn: int | None = None
    shortened: bool = False
    new_day: bool = False
    after_reset: bool = False


Entry = tuple[Line, int]  # a line and the epoch that it belongs to


@dataclass(frozen=True)
class Transcript:
    """A page of lines, oldest first. `older` is the `before` of the page ahead of it; `reset_at_end`: nothing since."""

    lines: tuple[Line, ...]
    older: int | None
    is_newest: bool
    reset_at_end: bool


NOTES = {
    Outcome.UNKNOWN.value: "Found no answer",
    Outcome.STOPPED.value: "Stopped by the visitor",
    Outcome.CUT.value: "Cut off at the time limit",
    Outcome.FAILED.value: "Failed",
    Outcome.HANDED.value: "A person took over",
}

_COLUMNS = ("pk", "seq", "epoch", "role", "shown", "citations", "sender_name", "created_at", "sent")
# What stands for an operator's files; a visitor's components may be long.
_SENT = Case(When(role=Message.Role.OPERATOR, then=F("components")), output_field=JSONField())


def read_transcript(
    session: ChatSession, before: int | None = None, *, page: int = PAGE, with_notes: bool = False
) -> Transcript:
    """Return the newest `page` messages of a session, or the newest before the `seq` given; the notes among them too.

    A note lies with the messages that are no older than it, so that it is on one page only.
    """
    found = Message.objects.filter(session=session)
    if before is not None:
        found = found.filter(seq__lt=before)
    rows = list(
        found.order_by("-seq")
        .annotate(shown=Left("text", SHOWN_CHARACTERS + 1), sent=_SENT)
        .values_list(*_COLUMNS, named=True)[: page + 1]
    )
    older = rows[page - 1].seq if len(rows) > page else None
    rows = rows[:page][::-1]
    is_newest = before is None
    answers = [row.pk for row in rows if row.role == Message.Role.ASSISTANT]
    turns, thought = _turns(session, answers), opinions(answers)
    files = uploads_of([row.pk for row in rows if row.role == Message.Role.USER])
    files |= {row.pk: files_in(row.sent) for row in rows if row.sent}
    lines = [(_line(row, turns.get(row.pk), thought.get(row.pk, ""), files.get(row.pk, ())), row.epoch) for row in rows]
    if is_newest:
        unfinished = [turn for turn in turns.values() if turn.state != Turn.State.ENDED]
        lines += [(_unfinished(turn), turn.epoch) for turn in unfinished]
    lines = _rendered(lines)
    newest_epoch = max((epoch for _, epoch in lines), default=session.epoch)
    if with_notes:
        since = None if older is None else rows[0].created_at
        lines = list(_with_notes(lines, _notes(session, since, before)))
    return Transcript(
        lines=tuple(_separated(lines)),
        older=older,
        is_newest=is_newest,
        reset_at_end=is_newest and session.epoch > newest_epoch,
    )


def _notes(session: ChatSession, since: datetime | None, before: int | None) -> list[Line]:
    """Return the notes from a time on, and older than the message of that `seq`; None: without a bound."""
    found = Note.objects.filter(session=session)
    if since is not None:
        found = found.filter(created_at__gte=since)
    if before is not None:
        message = Message.objects.filter(session=session, seq=before).values("created_at")
        found = found.filter(created_at__lt=message[:1])
    return [Line(NOTE, row.text, row.created_at, sender=row.author) for row in found.order_by("created_at", "id")]


def _with_notes(lines: list[Entry], notes: list[Line]) -> Iterator[Entry]:
    """Yield lines and notes, each note before the first line that is later; it belongs to the epoch before it."""
    waiting = deque(notes)
    epoch = lines[0][1] if lines else 0
    for line, epoch_of_line in lines:
        while waiting and waiting[0].at < line.at:
            yield waiting.popleft(), epoch
        epoch = epoch_of_line
        yield line, epoch
    yield from ((note, epoch) for note in waiting)


def _turns(session: ChatSession, answers: list[int]) -> dict[int, Turn]:
    """Return the turns of answers by id, which an answer and its turn share, and those that have not ended."""
    wanted = ~Q(state=Turn.State.ENDED)
    if answers:
        wanted |= Q(pk__range=(min(answers), max(answers)))
    return {turn.pk: turn for turn in Turn.objects.filter(wanted, session=session).order_by("id")}


def _line(row: Any, turn: Turn | None, opinion: str, files: tuple[Upload, ...]) -> Line:
    # An operator's files stand in his text too, for whoever reads text only.
    text: str = words_in(row.shown, files) if row.role == Message.Role.OPERATOR else row.shown
    return Line(
        role=row.role,
        text=text[:SHOWN_CHARACTERS],
        at=row.created_at,
        seq=row.seq,
        sender=row.sender_name,
        citations=msgspec.convert(row.citations or (), tuple[Citation, ...]),
        files=files,
        outcome=turn.outcome if turn else "",
        note=NOTES.get(turn.outcome, "") if turn else "",
        details=_details(turn) if turn else "",
        opinion=opinion,
        shortened=len(text) > SHOWN_CHARACTERS,
    )


def _rendered(lines: list[Entry]) -> list[Entry]:
    """Return the lines with the HTML of the newest answers, up to RENDERED characters."""
    lines, left = list(lines), RENDERED
    for place, (line, epoch) in reversed(list(enumerate(lines))):
        if line.role == Message.Role.ASSISTANT:
            left -= len(line.text)
            lines[place] = (replace(line, html=markdown.render(line.text) if left >= 0 else ""), epoch)
    return lines


def _details(turn: Turn) -> str:
    """Return who answered, how soon, and for how many tokens."""
    parts = [turn.responder]
    if turn.first_text_ms is not None:
        parts.append(f"first words after {turn.first_text_ms / 1000:.1f} s")
    if turn.prompt_tokens or turn.completion_tokens:
        parts.append(f"{turn.prompt_tokens} + {turn.completion_tokens} tokens")
    return " · ".join(filter(None, parts))


def _unfinished(turn: Turn) -> Line:
    note = "Being answered" if turn.state == Turn.State.RUNNING else "Waiting for the answer before it"
    return Line(Message.Role.ASSISTANT, turn.partial, turn.created_at, outcome="open", note=note, turn=turn.pk)


def _separated(lines: list[Entry]) -> list[Line]:
    """Return the lines with their separators; an answer that ended after a reset belongs to the epoch before it."""
    if not lines:
        return []
    first, newest = lines[0]
    separated = [replace(first, new_day=True)]
    for (before, _), (line, epoch) in pairwise(lines):
        separated.append(replace(line, new_day=_day(line.at) != _day(before.at), after_reset=epoch > newest))
        newest = max(newest, epoch)
    return separated


def _day(time: datetime) -> date:
    return timezone.localtime(time).date()
