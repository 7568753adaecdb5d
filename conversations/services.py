"""Every write that people and programs make, as named functions: synchronous, one transaction each."""

from collections.abc import Collection, Iterable
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
from django.db import transaction
from django.utils import timezone

from conversations import signals
from conversations.contacts import State
from conversations.drafts import DocumentError, Draft, check_space, fault_of, read_folder
from conversations.jobs import Handed, Hold, MarkDone, OperatorSays, Release, SettleRequests
from conversations.jobs.handover import NAME
from conversations.models import ChatSession, Document, Message, Note, OutboxEntry, Pipeline
from conversations.store import Refused, commit, unhurried
from conversations.types import MessageStored, Outcome, StopRequested, StoredMessage

ROWS_AT_ONCE = 200


class DocumentMissing(DocumentError):  # noqa: N818  names a state
    """The document, or its pipeline, is not there (any more)."""


class FolderLoad(msgspec.Struct, frozen=True):
    """What loading a folder did, in documents; `skipped` says of each file that was left out why."""

    added: int
    changed: int
    removed: int
    unchanged: int
    skipped: tuple[str, ...] = ()


# --- Conversations -------------------------------------------------------------------------------


def reply_as_owner(
    session: UUID,
    text: str,
    *,
    name: str,
    contacts: tuple[UUID, ...] = (),
    operator: int | None = None,
    seconds: float = 0.0,
    uuid: UUID | None = None,
    uploads: tuple[str, ...] = (),
) -> StoredMessage:
    """Say `text` in a session for the owner, tell its open sockets, and return what was stored.

    `contacts` are the contact requests that are replied to with it, `uploads` the keys of files that go with it. An
    `operator` who holds the session does for another `seconds`. Said again under the same `uuid`, it is the same one.
    Raises HeldByAnother where somebody else holds it, UploadTaken where a file is not to be had, Refused where there is
    no such session, or a StoreError. Not to be called inside a transaction: what is told must be committed.
    """
    (result,) = commit([OperatorSays(session, text, name, contacts, operator, seconds, uuid, uploads)])
    if isinstance(result, Exception):
        raise result
    stored: StoredMessage = result
    signals.said.send(sender=None, event=MessageStored(stored))
    return stored


def take_over(session: UUID, operator: int, name: str, *, seconds: float, over: bool = False) -> None:
    """Give a session to an operator, for `seconds` since the last thing he does; the bot is silent from now on.

    With `over` also where somebody else has it. Raises HeldByAnother, whose text names who has it, Refused where there
    is no such session, or a StoreError.
    """
    handed = _hand(Hold(session, operator, name, seconds, over))
    for turn in handed.running:  # first: what a turn says after the notice comes from one that did not hear of it
        signals.said.send(sender=None, event=StopRequested(session, turn, Outcome.HANDED))
    _tell(handed)


def hand_back(session: UUID, operator: int | None = None) -> None:
    """Give a session back to the bot; without an operator only where nobody has touched it for too long.

    Raises as `take_over` does.
    """
    _tell(_hand(Release(session, operator)))


def mark_done(session: UUID, operator: int) -> None:
    """Note that an operator is through with a session, and give it back to the bot where he holds it.

    Raises as `take_over` does.
    """
    _tell(_hand(MarkDone(session, operator)))
    signals.changed.send(sender=None)


def add_note(session: UUID, author: str, text: str, *, uuid: UUID | None = None) -> None:
    """Keep a note about a session for operators, once under that `uuid`; Refused where there is no such session."""
    row = ChatSession.objects.filter(uuid=session).first()
    if row is None:
        raise Refused("There is no such session.")
    written = {"session": row, "author": author[:NAME], "text": text, "created_at": timezone.now()}
    Note.objects.get_or_create(uuid=uuid or uuid4(), defaults=written)
    signals.changed.send(sender=None)


def mark_requests_replied(requests: Collection[UUID]) -> int:
    """Note that the owner replied to contact requests, as by telephone; return how many that moved."""
    return _settle(SettleRequests(tuple(requests), State.REPLIED))


def close_requests(requests: Collection[UUID]) -> int:
    """Close contact requests, replied to or not; return how many were open."""
    return _settle(SettleRequests(tuple(requests), State.CLOSED))


def _settle(job: SettleRequests) -> int:
    (moved,) = commit([job])
    if isinstance(moved, Exception):
        raise moved
    signals.changed.send(sender=None)
    return int(moved)


def retry_delivery(entry: int, session: UUID) -> bool:
    """Have an outbox entry of a session tried again now; False where somebody was told, or it is not that session's."""
    with transaction.atomic():
        # Locked first: looked at before, it might be delivered meanwhile.
        found = OutboxEntry.objects.select_for_update().filter(pk=entry).first()
        if found is None or not Message.objects.filter(pk=found.message_id, session__uuid=session).exists():
            return False
        if found.state == OutboxEntry.State.SENT and not found.error:
            return False
        found.state, found.due_at, found.ended_at = OutboxEntry.State.WAITING, timezone.now(), None
        found.save(update_fields=["state", "due_at", "ended_at"])
    signals.changed.send(sender=None)
    return True


def _hand(job: Hold | Release | MarkDone) -> Handed:
    (result,) = commit([job])
    if isinstance(result, Exception):
        raise result
    handed: Handed = result
    return handed


def _tell(handed: Handed) -> None:
    if handed.notice is not None:
        signals.said.send(sender=None, event=MessageStored(handed.notice))


# --- Documents -----------------------------------------------------------------------------------


@unhurried
def save_document(
    pipeline: UUID, *, title: str, text: str, space: str = "default", url: str = "", document: UUID | None = None
) -> UUID:
    """Add a document to a pipeline, or rewrite `document`, and return its UUID; DocumentError says what is wrong."""
    draft = Draft(title=title.strip(), text=text, url=url.strip())
    check_space(space)
    if fault := fault_of(draft):
        raise DocumentError(f"The document cannot be taken: {fault}.")
    with transaction.atomic():
        owner = _lock(pipeline)
        if document is None:
            row = Document(pipeline=owner)
        else:
            found = Document.objects.filter(pipeline=owner, uuid=document).first()
            if found is None:
                raise DocumentMissing(f"There is no document {document} in this pipeline.")
            row = found
        if row.digest != draft.digest or row.space != space:
            if row.space != space:
                # It leaves its folder behind: the new space's folder has another file of that path, or none.
                row.space, row.path = space, ""
            _write(row, draft, _next_revision(owner))
    return row.uuid


@unhurried
def delete_documents(pipeline: UUID, documents: Collection[UUID]) -> int:
    """Delete documents of a pipeline and return how many there were."""
    with transaction.atomic():
        owner = _lock(pipeline)
        removed, _ = Document.objects.filter(pipeline=owner, uuid__in=documents).delete()
        if removed:
            _next_revision(owner)
    return removed


def load_folder(pipeline: UUID, space: str, folder: Path, *, url_base: str = "") -> FolderLoad:
    """Make the documents of a space those of a folder: Markdown and text files in UTF-8, hidden ones left out.

    A file that cannot be taken is reported in `skipped`, and what was loaded from it before stays. A document that
    was entered by hand stays too. With `url_base` each document links to its path below it.
    """
    check_space(space)
    drafts, skipped = read_folder(folder, url_base)
    with transaction.atomic():
        owner = _lock(pipeline)
        loaded = Document.objects.filter(pipeline=owner, space=space).exclude(path="")
        digests = dict(loaded.values_list("path", "digest"))
        if digests and not drafts and not skipped:
            raise DocumentError(f"{folder} holds no document, and {len(digests)} were loaded from it: is it mounted?")
        gone = digests.keys() - drafts.keys() - skipped.keys()
        changed = [path for path, draft in drafts.items() if path in digests and digests[path] != draft.digest]
        added = [draft for path, draft in drafts.items() if path not in digests]
        if gone or changed or added:
            revision = _next_revision(owner)
            for some in _batches(sorted(gone)):
                loaded.filter(path__in=some).delete()
            for some in _batches(changed):
                for row in loaded.filter(path__in=some):
                    _write(row, drafts[row.path], revision)
            Document.objects.bulk_create(
                (_filled(Document(pipeline=owner, space=space), draft, revision) for draft in added),
                batch_size=ROWS_AT_ONCE,
            )
    unchanged = len(drafts) - len(added) - len(changed)
    reasons = tuple(f"{path}: {reason}" for path, reason in sorted(skipped.items()))
    return FolderLoad(len(added), len(changed), len(gone), unchanged, reasons)


def _lock(pipeline: UUID) -> Pipeline:
    """Return the pipeline, held until the transaction ends: revisions are committed in their order."""
    owner = Pipeline.objects.select_for_update().filter(uuid=pipeline).first()
    if owner is None:
        raise DocumentMissing(f"There is no pipeline {pipeline}.")
    return owner


def _next_revision(owner: Pipeline) -> int:
    owner.knowledge_revision += 1
    owner.save(update_fields=["knowledge_revision"])
    return owner.knowledge_revision


def _filled(row: Document, draft: Draft, revision: int) -> Document:
    row.title, row.text, row.url = draft.title, draft.text, draft.url
    row.digest, row.revision = draft.digest, revision
    row.path = draft.path or row.path
    return row


def _write(row: Document, draft: Draft, revision: int) -> None:
    _filled(row, draft, revision).save()


def _batches(paths: list[str]) -> Iterable[list[str]]:
    return (paths[start : start + ROWS_AT_ONCE] for start in range(0, len(paths), ROWS_AT_ONCE))
