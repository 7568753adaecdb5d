"""Documents in the database: by hand, from a folder, and by the command."""

from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from conversations import drafts, services
from conversations.drafts import DocumentError
from conversations.models import Document, Pipeline
from conversations.services import FolderLoad

pytestmark = pytest.mark.django_db


@pytest.fixture
def pipeline() -> UUID:
    return Pipeline.objects.create(name="Shop").uuid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "hours.md").write_text("# Opening hours\n\nFrom 9 to 17.")
    (docs / "sub" / "plain.txt").write_text("Plain words.")
    return docs


def revision(pipeline: UUID) -> int:
    return Pipeline.objects.get(uuid=pipeline).knowledge_revision


def load(pipeline: UUID, folder: Path, **options: str) -> FolderLoad:
    return services.load_folder(pipeline, "docs", folder, **options)


def test_a_document_by_hand(pipeline: UUID) -> None:
    uuid = services.save_document(pipeline, title=" Hours ", text="From 9 to 17.", url="https://example.com/hours")
    row = Document.objects.get(uuid=uuid)
    assert (row.title, row.text, row.space, row.path) == ("Hours", "From 9 to 17.", "default", "")
    assert row.revision == revision(pipeline) == 1
    assert services.save_document(pipeline, title="Hours", text="From 8 to 17.", document=uuid) == uuid
    row.refresh_from_db()
    assert (row.text, row.url, row.revision) == ("From 8 to 17.", "", 2)


def test_saving_what_is_there_already_changes_nothing(pipeline: UUID) -> None:
    uuid = services.save_document(pipeline, title="Hours", text="From 9 to 17.")
    services.save_document(pipeline, title="Hours", text="From 9 to 17.", document=uuid)
    assert revision(pipeline) == 1
    services.save_document(pipeline, title="Hours", text="From 9 to 17.", document=uuid, space="other")
    assert revision(pipeline) == 2


def test_deleting_counts_once(pipeline: UUID) -> None:
    uuids = [services.save_document(pipeline, title=str(number), text="x") for number in range(3)]
    assert services.delete_documents(pipeline, [*uuids[:2], uuid4()]) == 2
    assert revision(pipeline) == 4
    assert services.delete_documents(pipeline, uuids[:2]) == 0
    assert revision(pipeline) == 4


def test_another_pipeline_s_documents_are_out_of_reach(pipeline: UUID) -> None:
    other = Pipeline.objects.create(name="Other").uuid
    uuid = services.save_document(pipeline, title="Hours", text="x")
    assert services.delete_documents(other, [uuid]) == 0
    with pytest.raises(DocumentError, match="no document"):
        services.save_document(other, title="Mine", text="x", document=uuid)
    assert Document.objects.get().title == "Hours"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": " \n"}, "empty"),
        ({"text": "a\0b"}, "NUL"),
        ({"title": ""}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"url": "x" * 1001}, "address"),
        ({"space": ""}, "space"),
        ({"space": "a\0"}, "space"),
        ({"text": "x" * (drafts.MAX_DOCUMENT_BYTES + 1)}, "larger"),
        ({"text": "\ud800"}, "half a character"),
    ],
)
def test_what_the_database_would_refuse_is_one_sentence(pipeline: UUID, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        services.save_document(pipeline, **{"title": "Hours", "text": "x", **fields})
    assert revision(pipeline) == 0


def test_an_unknown_pipeline() -> None:
    with pytest.raises(DocumentError, match="no pipeline"):
        services.save_document(uuid4(), title="Hours", text="x")


def test_a_folder_is_loaded_and_then_only_what_changed(pipeline: UUID, folder: Path) -> None:
    assert load(pipeline, folder) == FolderLoad(2, 0, 0, 0)
    assert sorted(Document.objects.values_list("path", "title")) == [
        ("hours.md", "Opening hours"),
        ("sub/plain.txt", "plain"),
    ]
    assert revision(pipeline) == 1
    assert load(pipeline, folder) == FolderLoad(0, 0, 0, 2)
    assert revision(pipeline) == 1

    (folder / "hours.md").write_text("# Opening hours\n\nFrom 8 to 17.")
    (folder / "sub" / "plain.txt").unlink()
    (folder / "new.markdown").write_text("New.")
    kept = Document.objects.get(path="hours.md").uuid
    assert load(pipeline, folder) == FolderLoad(1, 1, 1, 0)
    assert revision(pipeline) == 2
    assert Document.objects.get(path="hours.md").uuid == kept
    assert set(Document.objects.values_list("path", "revision")) == {("hours.md", 2), ("new.markdown", 2)}


def test_a_load_leaves_other_spaces_and_documents_by_hand_alone(pipeline: UUID, folder: Path, tmp_path: Path) -> None:
    services.save_document(pipeline, title="By hand", text="x", space="docs")
    services.load_folder(pipeline, "other", folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "other.md").write_text("other")
    load(pipeline, folder)
    assert load(pipeline, other) == FolderLoad(1, 0, 2, 0)
    assert set(Document.objects.values_list("space", flat=True)) == {"docs", "other"}
    assert set(Document.objects.filter(space="docs").values_list("title", flat=True)) == {"By hand", "other"}


def test_a_document_that_moves_to_another_space_leaves_its_folder(pipeline: UUID, folder: Path) -> None:
    load(pipeline, folder)
    services.load_folder(pipeline, "other", folder)
    row = Document.objects.get(space="docs", path="hours.md")
    services.save_document(pipeline, title=row.title, text=row.text, space="other", document=row.uuid)
    assert services.load_folder(pipeline, "other", folder) == FolderLoad(0, 0, 0, 2)
    assert load(pipeline, folder) == FolderLoad(1, 0, 0, 1)


def test_a_bad_file_is_reported_and_what_was_loaded_from_it_stays(pipeline: UUID, folder: Path) -> None:
    load(pipeline, folder)
    (folder / "hours.md").write_bytes("中文".encode("gbk"))
    (folder / "empty.md").write_text("")
    (folder / "nul.txt").write_text("a\0b")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.md").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.md").write_text("x")
    loaded = load(pipeline, folder)
    assert loaded == FolderLoad(
        0,
        0,
        0,
        1,
        ("empty.md: it is empty", "hours.md: it is not UTF-8", "nul.txt: it contains a NUL or half a character"),
    )
    assert Document.objects.get(path="hours.md").text.endswith("From 9 to 17.")


def test_a_byte_order_mark_is_no_text(pipeline: UUID, folder: Path) -> None:
    (folder / "hours.md").write_bytes("\ufeff# 营业时间\r\n\r\n九点".encode())
    load(pipeline, folder)
    row = Document.objects.get(path="hours.md")
    assert (row.title, row.text[0]) == ("营业时间", "#")


def test_links_below_the_base(pipeline: UUID, folder: Path) -> None:
    load(pipeline, folder)
    (folder / "营业 时间.md").write_text("x")
    assert load(pipeline, folder, url_base="https://example.com/docs/") == FolderLoad(1, 2, 0, 0)
    assert set(Document.objects.values_list("url", flat=True)) == {
        "https://example.com/docs/hours.md",
        "https://example.com/docs/sub/plain.txt",
        "https://example.com/docs/%E8%90%A5%E4%B8%9A%20%E6%97%B6%E9%97%B4.md",
    }


def test_many_documents(pipeline: UUID, tmp_path: Path) -> None:
    count = services.ROWS_AT_ONCE * 2 + 1
    for number in range(count):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    assert load(pipeline, tmp_path) == FolderLoad(count, 0, 0, 0)
    for number in range(count):
        (tmp_path / f"{number}.txt").write_text(f"text {number}!")
    assert load(pipeline, tmp_path) == FolderLoad(0, count, 0, 0)
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "new.txt").write_text("all that is left")
    assert load(pipeline, tmp_path) == FolderLoad(1, 0, count, 0)


def test_an_empty_folder_is_taken_for_a_lost_mount(pipeline: UUID, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    load(pipeline, folder)
    with pytest.raises(DocumentError, match="is it mounted"):
        load(pipeline, empty)
    assert Document.objects.filter(space="docs").count() == 2


def test_a_link_out_of_the_folder_is_left_out(pipeline: UUID, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not for everybody")
    (folder / "link.txt").symlink_to(secret)
    (folder / "inside.txt").symlink_to(folder / "hours.md")
    load(pipeline, folder)
    assert set(Document.objects.values_list("path", flat=True)) >= {"inside.txt", "hours.md"}
    assert not Document.objects.filter(path="link.txt").exists()


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x"])
def test_an_address_that_is_no_address_is_refused(pipeline: UUID, url: str) -> None:
    with pytest.raises(DocumentError, match="address"):
        services.save_document(pipeline, title="x", text="x", space="docs", url=url)


def test_a_folder_that_is_none(pipeline: UUID, folder: Path) -> None:
    with pytest.raises(DocumentError, match="not a folder"):
        load(pipeline, folder / "hours.md")


def run(*arguments: str) -> tuple[str, str]:
    out, errors = StringIO(), StringIO()
    call_command("load_documents", *arguments, stdout=out, stderr=errors)
    return out.getvalue(), errors.getvalue()


def test_the_command_prints_the_counts(pipeline: UUID, folder: Path) -> None:
    (folder / "empty.md").write_text("")
    out, errors = run(str(folder), "--pipeline", str(pipeline), "--space", "docs", "--url-base", "https://a.test")
    assert out == "2 added, 0 changed, 0 removed, 0 unchanged.\n"
    assert errors == "Skipped empty.md: it is empty.\n"
    assert Document.objects.filter(url="https://a.test/hours.md").exists()


@pytest.mark.parametrize(
    ("path", "pipeline_option", "space", "reason"),
    [
        (".", "nonsense", "docs", "must be a UUID"),
        (".", "00000000-0000-4000-8000-000000000009", "docs", "no pipeline"),
        ("/nowhere", "00000000-0000-4000-8000-000000000009", "docs", "not a folder"),
        (".", "00000000-0000-4000-8000-000000000009", "", "space"),
    ],
)
def test_the_command_s_errors_are_one_sentence(
    tmp_path: Path, path: str, pipeline_option: str, space: str, reason: str
) -> None:
    with pytest.raises(CommandError, match=reason):
        run(str(tmp_path / path), "--pipeline", pipeline_option, "--space", space)
