"""Files are kept before anybody is told of them, belong to the one message that names them first, and go with it."""

import asyncio
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import storages
from django.test import override_settings
from django.utils import timezone
from PIL import Image

from conversations.jobs import Accept, Finish, Reset, UploadsFull, UploadTaken
from conversations.jobs import uploads as jobs
from conversations.models import ChatSession, Pipeline
from conversations.models import Turn as TurnRow
from conversations.models import Upload as UploadRow
from conversations.selectors import files_of, past_messages, running_turns
from conversations.store import OutcomeUnknown, Refused, StoreFull, StoreUnavailable
from conversations.types import Accepted, Outcome, Question, SessionKey, Upload
from conversations.uploads import images, shelf
from conversations.uploads.kinds import UploadRefused
from conversations.uploads.shelf import Sent, Uploads, derived_key, is_key
from conversations.uploads.storage import UploadStorage, for_model_of, key_of, place_of, thumbnail_of
from tests.conversations.conftest import Database
from tests.conversations.doubles import WatchedStore, new_session, question
from tests.support.files import PDF, picture

ADDRESS = "192.0.2.1"
LARGEST = 100_000


@pytest.fixture
def storage(tmp_path: Path) -> UploadStorage:
    return UploadStorage(location=tmp_path / "uploads")


@pytest.fixture
async def uploads(store: WatchedStore, storage: UploadStorage) -> AsyncIterator[Uploads]:
    uploads = Uploads(store, storage, largest=LARGEST)
    yield uploads
    uploads.stop()


class KilledError(Exception):
    """Nobody catches this."""


class Desk:
    """Keeps files for one pipeline, and asks with them."""

    def __init__(self, store: WatchedStore, uploads: Uploads, pipeline: Pipeline) -> None:
        self.store = store
        self.uploads = uploads
        self.pipeline = pipeline

    async def keep(self, content: bytes = PDF, name: str = "a.pdf", **fields: Any) -> Upload:
        fields = {"size": len(content), "pipeline_id": self.pipeline.pk, "address": ADDRESS, **fields}
        return await self.uploads.keep(lambda: Sent(name, content), None, **fields)

    def session(self) -> SessionKey:
        return new_session(self.pipeline)

    async def ask(self, session: SessionKey, *files: Upload | str, **fields: Any) -> Any:
        keys = tuple(file if isinstance(file, str) else file.key for file in files)
        return await self.store.write(self.accept(question(session, "See.", uploads=keys, **fields)))

    def accept(self, asked: Question) -> Accept:
        return Accept(asked, self.pipeline.pk, uuid4())

    async def row(self, upload: Upload) -> UploadRow | None:
        return await self.store.read(lambda: UploadRow.objects.filter(key=upload.key).first())


@pytest.fixture
def desk(store: WatchedStore, uploads: Uploads, pipeline: Pipeline) -> Desk:
    return Desk(store, uploads, pipeline)


def lying(storage: UploadStorage) -> set[str]:
    """Return every file below the storage, whatever it is."""
    root = Path(storage.location)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def modes(storage: UploadStorage) -> tuple[set[int], set[int]]:
    """Return who may do what with the files of a storage, and with its folders."""
    root = Path(storage.location)
    found = [(path.is_file(), stat.S_IMODE(path.stat().st_mode)) for path in (root, *root.rglob("*"))]
    return {mode for is_file, mode in found if is_file}, {mode for is_file, mode in found if not is_file}


async def all_of(uploads: Uploads, upload: Upload, **which: bool) -> bytes:
    return b"".join([piece async for piece in uploads.pieces(upload, **which)])


# --- Keeping -------------------------------------------------------------------------------------


async def test_a_file_is_kept_as_it_was_sent_and_only_its_user_may_read_it(desk: Desk, storage: UploadStorage) -> None:
    content = picture("JPEG", (900, 600))
    upload = await desk.keep(content, "../../猫.png")
    assert is_key(upload.key)
    assert (upload.kind, upload.name, upload.media_type) == ("image", "猫.jpg", "image/jpeg")
    assert (upload.size, upload.width, upload.height) == (len(content), 900, 600)
    assert await desk.uploads.find(upload.key) == upload
    assert await all_of(desk.uploads, upload) == content
    assert 0 < len(await all_of(desk.uploads, upload, thumbnail=True)) == await desk.uploads.size_of_thumbnail(upload)
    assert lying(storage) == {place_of(upload.key), thumbnail_of(upload.key)}
    assert modes(storage) == ({0o600}, {0o700})


async def test_a_file_of_many_pieces_is_read_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "PIECE", 7)
    for size in (1, 7, 8, 14, 50):
        upload = await desk.keep(b"x" * size, "a.txt")
        assert await all_of(desk.uploads, upload) == b"x" * size


@pytest.mark.parametrize("content", [b"", b"x" * (LARGEST + 1), b"\0"])
async def test_what_is_refused_leaves_nothing(desk: Desk, storage: UploadStorage, content: bytes) -> None:
    with pytest.raises(UploadRefused):
        await desk.keep(content, "a.txt")
    assert lying(storage) == set()
    assert not await desk.store.read(UploadRow.objects.filter(pipeline=desk.pipeline).exists)


async def test_the_bytes_are_there_before_the_row(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed in between has told nobody; what he left is no upload."""
    seen: list[set[str]] = []

    async def die(job: object) -> None:
        seen.append(lying(storage))
        raise KilledError

    monkeypatch.setattr(desk.store, "write", die)
    with pytest.raises(KilledError):
        await desk.keep()
    monkeypatch.undo()
    (place,) = seen[0]
    assert await desk.uploads.find(place.rpartition("/")[2]) is None


async def test_a_disk_that_takes_nothing_is_said_so_and_nothing_is_told(desk: Desk, storage: UploadStorage) -> None:
    await asyncio.to_thread(Path(storage.location).write_text, "where the folder should be")
    with pytest.raises(StoreUnavailable):
        await desk.keep()
    assert not await desk.store.read(UploadRow.objects.filter(pipeline=desk.pipeline).exists)


async def test_a_disk_that_takes_half_of_it_has_none_of_it(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = storage.save

    def full(place: str, content: Any) -> str:
        if place.endswith(".webp"):
            return save(place, content)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save", full)
    with pytest.raises(StoreUnavailable):
        await desk.keep(picture(), "a.png")
    assert lying(storage) == set()


async def test_a_write_that_breaks_off_leaves_no_half_file(storage: UploadStorage) -> None:
    class Breaks:
        def chunks(self) -> Any:
            yield b"half"
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        storage._save(place_of("a" * 43), Breaks())
    assert lying(storage) == set()


async def test_too_many_at_once_are_refused_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.uploads._examiners, "_room", 0)
    with pytest.raises(StoreFull):
        await desk.keep()


async def test_under_the_same_key_it_is_the_same_file(desk: Desk, storage: UploadStorage) -> None:
    key = derived_key("session", "message", "0", "digest")
    assert is_key(key)
    assert key != derived_key("session", "message", "1", "digest")
    many = await asyncio.gather(*(desk.keep(key=key) for _ in range(5)))
    assert len(set(many)) == 1
    assert lying(storage) == {place_of(key)}
    with override_settings(SECRET_KEY="x" * 50):
        assert derived_key("session", "message", "0", "digest") != key


async def test_what_waits_of_one_address_is_bounded_and_what_was_sent_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WAITING_BYTES_OF_ADDRESS", 2 * (jobs.OVERHEAD + len(PDF)))
    address = uuid4().hex
    first = await desk.keep(address=address)
    await desk.keep(address=address)
    with pytest.raises(UploadsFull):
        await desk.keep(address=address)
    await desk.keep(address=uuid4().hex)
    await desk.ask(desk.session(), first)
    await desk.keep(address=address)


async def test_what_waits_of_all_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WAITING_BYTES", 0)
    with pytest.raises(UploadsFull):
        await desk.keep()


async def test_where_there_is_no_room_nothing_is_looked_at(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def read() -> Sent:
        looked_at.append("it")
        return Sent("a.pdf", PDF)

    monkeypatch.setattr(jobs, "WAITING_BYTES_OF_ADDRESS", jobs.OVERHEAD + len(PDF) - 1)
    for key in ("", derived_key("a")):
        with pytest.raises(UploadsFull):
            await desk.uploads.keep(
                read, None, size=len(PDF), pipeline_id=desk.pipeline.pk, address=uuid4().hex, key=key
            )
    assert looked_at == []
    assert lying(storage) == set()


async def test_of_many_at_once_those_that_there_is_no_room_for_leave_nothing(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture("PNG", (60, 60))
    monkeypatch.setattr(jobs, "WAITING_BYTES_OF_ADDRESS", 2 * (jobs.OVERHEAD + len(content)))
    address = uuid4().hex
    sent = (desk.keep(content, "a.png", address=address) for _ in range(8))
    results = await asyncio.gather(*sent, return_exceptions=True)
    kept = [result for result in results if isinstance(result, Upload)]
    assert (len(kept), {type(result) for result in results}) == (2, {Upload, UploadsFull})
    assert lying(storage) == {place(upload.key) for upload in kept for place in (place_of, thumbnail_of)}


async def test_what_the_database_does_not_take_leaves_nothing_unless_it_may_have(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [StoreUnavailable("No."), StoreFull("No."), OutcomeUnknown("Perhaps.")]

    async def refuse(job: object) -> None:
        assert lying(storage) != set()
        raise refusals[0]

    monkeypatch.setattr(desk.store, "write", refuse)
    while refusals:
        with pytest.raises(type(refusals[0])):
            await desk.keep()
        assert (lying(storage) == set()) is not isinstance(refusals.pop(0), OutcomeUnknown)


async def test_whoever_leaves_in_the_middle_has_sent_it_and_it_counts(desk: Desk, storage: UploadStorage) -> None:
    begun, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def read() -> Sent:
        loop.call_soon_threadsafe(begun.set)
        assert goes_on.wait(10)
        return Sent("a.pdf", PDF)

    asking = asyncio.create_task(
        desk.uploads.keep(read, None, size=len(PDF), pipeline_id=desk.pipeline.pk, address=ADDRESS)
    )
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    goes_on.set()
    await asyncio.gather(*desk.uploads._keeping)
    (place,) = lying(storage)
    assert await desk.uploads.find(key_of(place)) is not None


# --- Attaching -----------------------------------------------------------------------------------


async def test_a_message_owns_the_files_that_it_names(desk: Desk) -> None:
    session = desk.session()
    files = [await desk.keep(), await desk.keep(picture(), "b.png")]
    accepted: Accepted = await desk.ask(session, *files)
    message = accepted.message.id
    assert await desk.store.read(files_of, message) == tuple(files)
    row = await desk.store.read(ChatSession.objects.get, uuid=session.uuid)
    await desk.ask(session)
    past = await desk.store.read(past_messages, row.pk, row.epoch, 3)
    assert [message.files for message in past] == [tuple(files), ()]


async def test_a_file_that_was_sent_elsewhere_is_refused_and_the_message_with_it(desk: Desk) -> None:
    file, session, other = await desk.keep(), desk.session(), desk.session()
    await desk.ask(session, file)
    with pytest.raises(UploadTaken, match="another conversation"):
        await desk.ask(other, file)
    accepted = await desk.ask(session, file)
    assert accepted.message.seq == 2
    row = await desk.row(file)
    assert row is not None
    assert row.message_id != accepted.message.id


async def test_two_conversations_at_once_do_not_both_have_a_file(desk: Desk) -> None:
    file = await desk.keep()
    results = await asyncio.gather(*(desk.ask(desk.session(), file) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Accepted", *["UploadTaken"] * 3]


async def test_one_that_is_not_there_or_another_pipeline_s_looks_the_same(desk: Desk) -> None:
    elsewhere = await desk.store.read(Pipeline.objects.create, name="Elsewhere")
    foreign = await desk.keep(pipeline_id=elsewhere.pk)
    words = []
    for key in (foreign.key, "x" * 43):
        with pytest.raises(UploadTaken) as refused:
            await desk.ask(desk.session(), key)
        words.append(str(refused.value))
    assert len(set(words)) == 1


async def test_a_question_asked_twice_has_its_files_once(desk: Desk) -> None:
    file, session = await desk.keep(), desk.session()
    first = await desk.ask(session, file, client_msg_id="m-1")
    again = await desk.ask(session, file, client_msg_id="m-1")
    assert again.duplicate
    assert again.message == first.message


# --- Forgetting ----------------------------------------------------------------------------------


def _made_long_ago(*uploads: Upload) -> Callable[[], int]:
    old = timezone.now() - jobs.KEPT_FOR - timedelta(seconds=1)
    return lambda: UploadRow.objects.filter(key__in=[upload.key for upload in uploads]).update(created_at=old)


async def test_a_purge_forgets_what_no_message_came_for(desk: Desk, uploads: Uploads, storage: UploadStorage) -> None:
    with _as_ours(storage):
        waits, sent, old = [await desk.keep(), await desk.keep(), await desk.keep(picture(), "a.png")]
        await desk.ask(desk.session(), sent)
        await desk.store.read(_made_long_ago(sent, old))
        await uploads.purge()
        assert await uploads.find(old.key) is None
        assert lying(storage) == {place_of(waits.key), place_of(sent.key)}
        with pytest.raises(Refused):
            await desk.ask(desk.session(), old)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_a_purge_passes_by_what_a_message_comes_for_at_this_moment(desk: Desk, database: Database) -> None:
    file = await desk.keep()
    await desk.store.read(_made_long_ago(file))
    coming = database.connect()
    try:
        coming.execute("BEGIN")
        coming.execute("SELECT id FROM conversations_upload WHERE key = %s FOR UPDATE", (file.key,))
        await desk.uploads.purge()
        assert await desk.uploads.find(file.key) == file
        coming.execute("ROLLBACK")
    finally:
        coming.close()
    await desk.uploads.purge()
    assert await desk.uploads.find(file.key) is None


async def test_a_purge_throws_away_what_lies_there_without_a_row_once_it_is_old(
    desk: Desk, uploads: Uploads, storage: UploadStorage
) -> None:
    kept = await desk.keep(picture(), "a.png")
    root = Path(storage.location)
    strays = [root / "ab" / ("ab" + "c" * 41), root / "ab" / ("ab" + "c" * 41 + ".webp"), root / "ab" / ".half"]
    young = root / "ab" / ("ab" + "d" * 41)
    (root / "ab").mkdir()
    for path in (*strays, young):
        path.write_bytes(b"x")
    long_ago = time.time() - shelf.GRACE - 1
    for path in (*strays, root / place_of(kept.key)):
        os.utime(path, (long_ago, long_ago))
    await uploads.purge()
    assert lying(storage) == {place_of(kept.key), thumbnail_of(kept.key), str(young.relative_to(root))}


@pytest.mark.parametrize("what", ["session", "pipeline"])
async def test_files_go_with_what_they_belong_to(desk: Desk, storage: UploadStorage, what: str) -> None:
    with _as_ours(storage):
        session = desk.session()
        attached, waits = await desk.keep(picture(), "a.png"), await desk.keep()
        await desk.ask(session, attached)
        await desk.store.write(Reset(desk.pipeline.pk, "person", session.uuid))
        assert place_of(attached.key) in lying(storage)  # staff still read it
        if what == "session":
            await desk.store.read(lambda: ChatSession.objects.filter(uuid=session.uuid).delete())
            assert lying(storage) == {place_of(waits.key)}
        else:
            await desk.store.read(lambda: Pipeline.objects.filter(pk=desk.pipeline.pk).delete())
            assert lying(storage) == set()


def _as_ours(storage: UploadStorage) -> Any:
    """Have the storage be the one that deleted rows are known by."""
    options = {"BACKEND": "conversations.uploads.storage.UploadStorage", "OPTIONS": {"location": storage.location}}
    return override_settings(STORAGES={**storages.backends, "uploads": options})


# --- For a model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
async def test_the_beginning_of_a_text_is_read(desk: Desk, encoding: str) -> None:
    upload = await desk.keep(("你好，世界。" * 100).encode(encoding), "a.txt")
    assert await desk.uploads.text(upload, 7) == "你好，世界。你"


async def test_a_picture_is_made_for_models_once_and_goes_with_it(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _as_ours(storage):
        upload = await desk.keep(picture("PNG", (2000, 30)), "a.png")
        shown = await desk.uploads.picture(upload)
        with Image.open(BytesIO(shown)) as image:
            assert (image.format, image.size) == ("JPEG", (1024, 15))
        monkeypatch.setattr(images, "for_model", None)
        assert await desk.uploads.picture(upload) == shown
        assert for_model_of(upload.key) in lying(storage)
        for place in lying(storage):
            os.utime(Path(storage.location) / place, (1, 1))
        await desk.uploads.purge()
        assert len(lying(storage)) == 3
        await desk.store.read(UploadRow.objects.filter(key=upload.key).delete)
        assert lying(storage) == set()


async def test_a_picture_is_shown_though_the_disk_is_full(
    desk: Desk, storage: UploadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await desk.keep(picture(), "a.png")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save", full)
    assert await desk.uploads.picture(upload)


async def test_of_what_is_no_text_there_is_none(desk: Desk) -> None:
    assert await desk.uploads.text(await desk.keep(), 100) == ""


async def test_a_turn_knows_of_files_whoever_runs_it(desk: Desk) -> None:
    session = desk.session()
    first: Accepted = await desk.ask(session, await desk.keep())
    await desk.ask(session)
    turn = first.turn
    assert turn is not None
    assert turn.has_files
    row = await desk.store.read(TurnRow.objects.get, pk=turn.id)
    assert row.worker is not None
    assert await desk.store.read(running_turns, row.worker) == [turn]
    finished = await desk.store.write(Finish(turn, row.worker, "A PDF.", Outcome.ANSWERED))
    assert not finished.next_turn.has_files
