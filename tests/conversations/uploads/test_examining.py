"""A file is what its content says, whatever it is called; what is not taken is refused, however it is dressed up."""

import struct
import unicodedata
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conversations.uploads import documents, images, names
from conversations.uploads.examining import Examined, examine
from conversations.uploads.kinds import Kind, UploadRefused
from tests.support.files import OFFICE, PDF, encoded, office, opened, picture

LARGEST = 1_000_000
CANARY = "GPS canary"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
BIDI = "invoice\u202egnp.exe"


def look_at(content: bytes, name: str = "", kind: Kind | None = None) -> Examined:
    return examine(content, name, kind, largest=LARGEST)


def refusal(content: bytes, name: str = "", kind: Kind | None = None) -> str:
    with pytest.raises(UploadRefused) as refused:
        look_at(content, name, kind)
    return str(refused.value)


# --- Pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_picture_is_known_by_its_content(form: str) -> None:
    looked_at = look_at(picture(form), "cat", "image")
    found = looked_at.found
    assert (found.kind, found.media_type) == ("image", f"image/{form.lower()}")
    assert (found.width, found.height) == (60, 30)
    assert looked_at.name == f"cat.{ {'JPEG': 'jpg'}.get(form, form.lower()) }"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixels_is_taken(mode: str) -> None:
    content = encoded(Image.new(mode, (20, 10)), "JPEG" if mode == "CMYK" else "PNG")
    assert opened(look_at(content, kind="image").found.thumbnail).size == (20, 10)
    assert opened(images.for_model(content)).mode == "RGB"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "first"), [(1, "blue"), (3, "red"), (6, "blue"), (8, "red")])
def test_a_thumbnail_is_upright_and_tells_nothing_but_its_pixels(form: str, orientation: int, first: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, CANARY
    content = picture(form, exif=exif, icc_profile=CANARY.encode(), comment=CANARY)
    assert CANARY.encode() in content
    found = look_at(content, kind="image").found
    thumbnail = opened(found.thumbnail)
    assert thumbnail.format == "WEBP"
    assert thumbnail.size == (found.width, found.height) == ((60, 30) if orientation in {1, 3} else (30, 60))
    red, _, blue = thumbnail.convert("RGB").getpixel((2, 2))  # type: ignore[misc]
    assert ("red" if red > blue else "blue") == first
    for made in (found.thumbnail, images.for_model(content)):
        assert CANARY.encode() not in made
        assert not dict(opened(made).getexif())


def test_a_thumbnail_and_a_model_s_picture_are_small() -> None:
    content = picture("JPEG", (3000, 1500))
    assert opened(look_at(content, kind="image").found.thumbnail).size == (480, 240)
    assert opened(images.for_model(content)).size == (1024, 512)


def test_what_is_seen_through_is_white_to_a_model() -> None:
    assert opened(images.for_model(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"))).getpixel((4, 4)) == (
        255, 255, 255,
    )  # fmt: skip


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def test_a_picture_that_is_tiny_as_a_file_and_vast_on_the_screen_is_refused_before_it_is_decoded() -> None:
    bomb = _png(10_000, 5_000, bytes(1_251 * 5_000))
    assert len(bomb) < 10_000
    assert refusal(bomb, kind="image") == "has more than 40000000 pixels"
    webp = encoded(Image.new("1", (4_100, 4_000)), "WEBP")
    assert refusal(webp, kind="image") == "has more than 16000000 pixels"


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_larger_than_any_is_refused(size: tuple[int, int]) -> None:
    assert refusal(_png(*size, b""), kind="image")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_picture_that_breaks_off_is_refused(form: str) -> None:
    noise = Image.effect_noise((200, 200), 100)
    content = encoded(noise, form)
    assert look_at(content, kind="image").found.media_type
    assert refusal(content[: len(content) // 2], kind="image") == "is damaged"
    if form == "PNG":  # all of its pixels are there, and not its end
        assert refusal(content[:-12], kind="image") == "is damaged"


@pytest.mark.parametrize(
    "content",
    [
        SVG, HTML, PDF, office(),
        b"BM" + bytes(100), b"\x00\x00\x01\x00" + bytes(100), b"%!PS-Adobe\n", b"x",
        encoded(Image.new("L", (9, 9)), "BMP"),
        encoded(Image.new("L", (9, 9)), "TIFF"), encoded(Image.new("L", (9, 9)), "ICO"),
    ],
)  # fmt: skip
def test_what_is_no_such_picture_is_refused_whatever_it_is_called(content: bytes) -> None:
    for name in ("a.png", "a.svg", "a.html", ""):
        assert refusal(content, name, "image") == "must be a JPEG, PNG, GIF or WebP picture"


@pytest.mark.parametrize("content", [b"GIF89a/*" + HTML + b"*/=1;", b"\xff\xd8\xff" + HTML, b"RIFF\0\0\0\0WEBP" + HTML])
def test_what_only_begins_as_a_picture_is_refused(content: bytes) -> None:
    for name in ("a.png", "a.html"):
        assert refusal(content, name, "image") == "is damaged"


def test_a_picture_with_a_page_behind_it_is_a_picture_and_no_page() -> None:
    looked_at = look_at(picture("PNG") + HTML, "page.html", "image")
    assert looked_at.found.media_type == "image/png"
    assert looked_at.name == "page.html.png"
    assert HTML not in looked_at.found.thumbnail


# --- Documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name", "media_type", "called"),
    [
        (PDF, "a.pdf", "application/pdf", "a.pdf"),
        (PDF, "a.exe", "application/pdf", "a.exe.pdf"),
        (PDF, "a.docx", "application/pdf", "a.pdf"),
        *((office(kind), f"说明.{kind}", media_type, f"说明.{kind}") for kind, media_type in OFFICE.items()),
        (b"hello", "a.txt", "text/plain; charset=utf-8", "a.txt"),
        (b"hello", "README", "text/plain; charset=utf-8", "README.txt"),
        (b"# hello", "a.MD", "text/markdown; charset=utf-8", "a.MD"),
        (b"a,b\r\n1,2\r\n", "a.csv", "text/csv; charset=utf-8", "a.csv"),
        ("\ufeff你好".encode(), "a.txt", "text/plain; charset=utf-8", "a.txt"),
        ("你好，世界".encode("gb18030"), "a.txt", "text/plain; charset=gb18030", "a.txt"),
        ("你好".encode("utf-16"), "a.txt", "text/plain; charset=utf-16", "a.txt"),
        (HTML, "page.txt", "text/plain; charset=utf-8", "page.txt"),
        (SVG, "drawing.txt", "text/plain; charset=utf-8", "drawing.txt"),
    ],
)
def test_a_document_is_known_by_its_content(content: bytes, name: str, media_type: str, called: str) -> None:
    looked_at = look_at(content, name, "document")
    assert (looked_at.found.kind, looked_at.found.media_type, looked_at.name) == ("document", media_type, called)
    assert looked_at.size == len(content)


def _long_archive(entries: int, width: int) -> bytes:
    """Return an archive with so many empty parts, whose names have that many characters."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(entries):
            archive.writestr(f"{number:0{width}}", b"")
        archive.writestr("[Content_Types].xml", b"")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SVG, "a.svg"), (HTML, "a.html"), (HTML, "a.htm"), (HTML, "a.xhtml"), (b"alert(1)", "a.js"),
        (b"MZ\x90\x00", "a.txt"),
        (b"a\x00b", "a.txt"), (b"\x1b[31mred", "a.txt"), (b"caf\xe9 ", "a.txt"), (b"\xff\xfea", "a.txt"),
        (b"\xef\xbb\xbf\xff", "a.txt"), (bytes(range(256)), "a.csv"), (picture(), "a.txt"), (PDF[:30], "a.pdf"),
        (b"junk" + PDF, "a.pdf"), (b"PK\x03\x04", "a.docx"), (office()[:-1], "a.docx"), (office() + b"junk", "a.docx"),
        (office("application/x-macro"), "a.docx"), (office("application/vnd.ms-word.document.macroEnabled"), "a.docx"),
    ],
)  # fmt: skip
def test_what_is_no_such_document_is_refused(content: bytes, name: str) -> None:
    assert refusal(content, name, "document").startswith(("must be a PDF", "is not a whole PDF"))


def test_an_archive_that_would_burst_is_refused() -> None:
    zeros = bytes(documents.UNPACKED // 4 + 1)
    bomb = office("docx", a=zeros, b=zeros, c=zeros, d=zeros)
    assert len(bomb) < LARGEST
    assert refusal(bomb, "a.docx") == "unpacks to too much"
    assert refusal(_long_archive(5_000, 60), "a.docx") == "unpacks to too much"
    assert refusal(_long_archive(documents.PARTS, 5), "a.docx") == "unpacks to too much"
    assert refusal(_long_archive(documents.PARTS - 1, 5), "a.docx").startswith("must be a PDF")


def test_an_archive_whose_end_lies_about_its_list_is_refused() -> None:
    content = bytearray(office())
    content[-10:-6] = struct.pack("<I", 0xFFFFFFF0)
    assert refusal(bytes(content), "a.docx")
    locator = b"PK\x06\x07" + bytes(16)
    assert refusal(office()[:-22] + locator + office()[-22:], "a.docx").startswith("must be a PDF")


def test_what_has_no_kind_may_be_either() -> None:
    assert look_at(picture(), "a.txt").found.kind == "image"
    assert look_at(b"text", "a.txt").found.kind == "document"


def test_nothing_and_too_much_are_refused() -> None:
    assert refusal(b"", "a.txt") == "is empty"
    assert refusal(bytes(LARGEST + 1), "a.txt") == "is larger than 1000000 bytes"


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"PK\x03\x04", b"%PDF-", b"RIFF\0\0\0\0WEBP"]),
)
def test_any_bytes_are_taken_or_refused(content: bytes, beginning: bytes) -> None:
    kinds: tuple[Kind | None, ...] = ("image", "document", None)
    for kind in kinds:
        with suppress(UploadRefused):
            assert look_at(beginning + content, "a.txt", kind).name


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("cat.png", "cat.png"), ("/etc/passwd", "passwd"), ("..\\..\\boot.ini", "boot.ini"), ("../..", "file"),
        ("", "file"),
        (".", "file"), (".png", "png"), ("a\x00b\r\n.png", "ab.png"), (BIDI, "invoicegnp.exe"),
        ("  a   b .txt", "a b.txt"),
        ("说明书（一）.pdf", "说明书（一）.pdf"), ("a" * 300 + ".pdf", "a" * 96 + ".pdf"), ("x" * 10_000, "x" * 99),
        ("\ud800.txt", "txt"), ("e\u0301.txt", "é.txt"), ("a.b.c" + "d" * 20, "a.b.c" + "d" * 20),
    ],
)  # fmt: skip
def test_a_name_is_made_fit(name: str, clean: str) -> None:
    assert names.clean(name) == clean


@given(st.text(st.characters(), max_size=400))
def test_any_name_is_made_fit(name: str) -> None:
    clean = names.with_suffix(names.clean(name), (".pdf",), {".png"})
    assert 0 < len(clean) <= names.LONGEST
    assert clean.lower().endswith(".pdf")
    assert not {"/", "\\"} & set(clean)
    assert not any(unicodedata.category(char).startswith("C") for char in clean)
