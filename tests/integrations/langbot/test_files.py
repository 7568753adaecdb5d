"""Files over HTTP on a real server: sent as for asking, read by whoever has the key, never more than a file."""

import http.client
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote, urlsplit

import pytest

from tests.conftest import Serve
from tests.integrations.langbot.conftest import TokenMaker
from tests.support.applications import change
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.files import OFFICE, PDF, fetch, form, office, opened, picture, send, sent
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

OTHER = "00000000-0000-4000-8000-0000000000f1"
SHOP = {"Origin": "https://shop.example"}
HTML = b"<!doctype html><script>alert(1)</script>"
LARGEST = 10 * 1024 * 1024
SAFE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "private, max-age=31536000, immutable",
}


@pytest.fixture(scope="module")
def narrow(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that takes small files only."""
    with serve(MAX_UPLOAD_BYTES="20000", RATE_LIMITS="off") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def public(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, but for the visitors of a page."""
    with serve(ACCESS_MODE="token", ALLOWED_ORIGINS=SHOP["Origin"]) as gateway:
        change(gateway, "UPDATE conversations_pipeline SET public = 1")
        query = f"?pipeline_uuid={DEFAULT_PIPELINE}"
        wait_until(
            lambda: send(gateway, "images", picture(), headers=SHOP, query=query)[0] == 200,
            timeout=10,
            what="a public pipeline",
        )
        yield gateway


# --- Sending and reading -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_picture_is_sent_and_read(gateway: GatewayProcess, kind: str) -> None:
    content = picture(kind, (600, 300))
    data = sent(gateway, "images", content, "猫.bin")
    key = data.pop("file_key")
    assert re.fullmatch(r"[\w-]{43}", key)
    name = f"猫.bin.{ {'JPEG': 'jpg'}.get(kind, kind.lower()) }"
    assert data == {
        "url": f"/api/v1/files/{key}", "name": name, "size": len(content), "width": 600, "height": 300,
    }  # fmt: skip
    status, headers, body = fetch(gateway, data["url"])
    assert (status, body) == (200, content)
    assert headers["Content-Type"] == f"image/{kind.lower()}"
    assert headers["Content-Length"] == str(len(content))
    assert headers["Content-Disposition"] == f"inline; filename*=utf-8''{quote(name)}"
    assert {name: headers[name] for name in SAFE} == SAFE
    status, headers, body = fetch(gateway, f"{data['url']}/thumbnail")
    assert (status, headers["Content-Type"]) == (200, "image/webp")
    assert opened(body).size == (480, 240)
    assert {name: headers[name] for name in SAFE} == SAFE


@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [
        (PDF, "a.pdf", "application/pdf"),
        (b"hello", "a.txt", "text/plain; charset=utf-8"),
        (b"# hello", "a.md", "text/markdown; charset=utf-8"),
        (b"a,b", "a.csv", "text/csv; charset=utf-8"),
        (HTML, "page.txt", "text/plain; charset=utf-8"),
        *((office(kind), f"a.{kind}", media_type) for kind, media_type in OFFICE.items()),
    ],
)
def test_a_document_is_sent_and_saved_never_shown(
    gateway: GatewayProcess, content: bytes, name: str, media_type: str
) -> None:
    data = sent(gateway, "documents", content, name)
    assert data == {
        "file_id": data["file_id"], "url": f"/api/v1/files/{data['file_id']}", "name": name, "size": len(content)
    }  # fmt: skip
    status, headers, body = fetch(gateway, data["url"])
    assert (status, body) == (200, content)
    assert headers["Content-Type"] == media_type
    assert headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert {name: headers[name] for name in SAFE} == SAFE
    assert fetch(gateway, f"{data['url']}/thumbnail")[0] == 404


def test_a_large_file_is_served_whole_and_to_a_browser_that_wants_pictures_only(gateway: GatewayProcess) -> None:
    content = PDF[:9] + bytes(9_000_000) + PDF[9:]
    data = sent(gateway, "documents", content, "large.pdf")
    assert fetch(gateway, data["url"], headers={"Accept": "image/webp"})[2] == content


@pytest.mark.parametrize("which", ["", "/thumbnail"])
def test_head_tells_what_get_would(gateway: GatewayProcess, which: str) -> None:
    url = sent(gateway, "images", picture())["url"] + which
    status, headers, body = fetch(gateway, url, method="HEAD")
    told, expected, content = fetch(gateway, url)
    assert (status, told, body) == (200, 200, b"")
    assert headers["Content-Length"] == str(len(content))
    assert [name for name in ("Content-Type", "Content-Disposition", *SAFE) if headers[name] != expected[name]] == []


@pytest.mark.parametrize("key", ["x" * 43, "..%2F..%2Fsecret_key", "secret_key", "a", "x" * 5_000, "%00", "%ff", "猫"])
def test_what_is_no_key_leads_nowhere(gateway: GatewayProcess, key: str) -> None:
    for which in ("", "/thumbnail"):
        status, headers, body = fetch(gateway, f"/api/v1/files/{quote(key, safe='%')}{which}")
        assert status == 404
        assert (
            json.loads(body)["code"] == -1
            if headers["Content-Type"] == "application/json"
            else b"/" not in key.encode()
        )


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content", "name", "reason", "message"),
    [
        (
            "images",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "a.png",
            "kind",
            "file must be a JPEG, PNG, GIF or WebP",
        ),
        ("images", HTML, "a.png", "kind", "file must be a JPEG"),
        ("images", PDF, "a.pdf", "kind", "file must be a JPEG"),
        ("images", picture()[:-20], "a.png", "damaged", "file is damaged"),
        ("images", b"", "a.png", "empty", "file is empty"),
        ("documents", HTML, "a.html", "kind", "file must be a PDF"),
        ("documents", b"<svg/>", "a.svg", "kind", "file must be a PDF"),
        ("documents", picture(), "a.pdf", "kind", "file must be a PDF"),
        ("documents", b"MZ\x00", "a.txt", "kind", "file must be a PDF"),
        ("documents", PDF[:8], "a.pdf", "damaged", "file is not a whole PDF"),
    ],
)
def test_what_it_is_not_is_told(
    gateway: GatewayProcess, kind: str, content: bytes, name: str, reason: str, message: str
) -> None:
    status, answer = send(gateway, kind, content, name)
    assert (status, answer["code"], answer["reason"]) == (400, -1, reason)
    assert answer["msg"].startswith(message)


MULTIPART = {"Content-Type": "multipart/form-data; boundary=frontier"}


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        (MULTIPART, b"", 400, "file is required"),
        (MULTIPART, b"--frontier--\r\n", 400, "file is required"),
        (MULTIPART, form(PDF, "a.pdf", field="other"), 400, "file is required"),
        (MULTIPART, form(PDF, ""), 400, "file is required"),
        (MULTIPART, b"junk", 400, "file is required"),
        (MULTIPART, form(PDF, "a.pdf", boundary="another"), 400, "file is required"),
        (
            MULTIPART,
            b"--frontier\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n" * 5_000,
            400,
            "Invalid multipart form",
        ),
        ({"Content-Type": "multipart/form-data"}, form(PDF, "a.pdf"), 400, "Invalid multipart form"),
        ({"Content-Type": "multipart/form-data; boundary=\xff"}, form(PDF, "a.pdf"), 400, "Invalid multipart form"),
        ({"Content-Type": "application/json"}, b"{}", 415, "Unsupported media type"),
        ({"Content-Type": "application/octet-stream"}, PDF, 415, "Unsupported media type"),
    ],
)
def test_a_call_without_a_form_with_a_file_is_refused(
    gateway: GatewayProcess, headers: dict[str, str], body: bytes, status: int, message: str
) -> None:
    got, _, answer = fetch(gateway, "/api/v1/files/documents", body=body, headers=headers, method="POST")
    assert (got, json.loads(answer)["code"]) == (status, -1)
    assert json.loads(answer)["msg"].startswith(message)


def test_of_several_files_the_first_is_taken_and_its_name_is_no_path(gateway: GatewayProcess) -> None:
    first, second = form(b"first", "..\\../x/\u202etxt.exe.txt"), form(b"second", "b.txt")
    body = first.removesuffix(b"--\r\n") + b"\r\n" + second
    status, _, answer = fetch(gateway, "/api/v1/files/documents", body=body, headers=MULTIPART)
    assert (status, json.loads(answer)["data"]["name"], json.loads(answer)["data"]["size"]) == (200, "txt.exe.txt", 5)


def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(gateway: GatewayProcess) -> None:
    status, answer = send(gateway, "documents", b"x" * LARGEST, "a.txt")
    assert (status, answer["data"]["size"]) == (200, LARGEST)
    assert send(gateway, "documents", b"x" * (LARGEST + 1), "a.txt")[0] == 413


def test_the_setting_bounds_a_file(narrow: GatewayProcess) -> None:
    assert send(narrow, "documents", b"x" * 20_000, "a.txt")[0] == 200
    assert send(narrow, "documents", b"x" * 20_001, "a.txt") == (
        413,
        {"code": -1, "msg": "The request body is too large"},
    )
    assert send(narrow, "documents", b"x" * 1_000_000, "a.txt")[0] == 413


def test_a_body_without_a_length_is_read_as_far_as_it_may_be(narrow: GatewayProcess) -> None:
    parts = urlsplit(narrow.url)

    def chunked(content: bytes) -> int:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=15)
        body = form(content, "a.txt")
        pieces = (body[start : start + 5_000] for start in range(0, len(body), 5_000))
        connection.request("POST", "/api/v1/files/documents", pieces, MULTIPART, encode_chunked=True)
        status = connection.getresponse().status
        connection.close()
        return status

    assert chunked(b"x" * 15_000) == 200
    assert chunked(b"x" * 100_000) == 413


def test_who_does_not_read_or_leaves_in_the_middle_holds_up_nobody(gateway: GatewayProcess) -> None:
    url = sent(gateway, "documents", PDF[:9] + bytes(9_000_000) + PDF[9:], "large.pdf")["url"]
    small = sent(gateway, "images", picture())["url"]
    parts = urlsplit(gateway.url)
    peers = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
    try:
        for peer in peers:
            peer.sendall(f"GET {url} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            assert peer.recv(12) == b"HTTP/1.1 200"
        assert fetch(gateway, small)[0] == 200
    finally:
        for peer in peers:
            peer.close()
    assert fetch(gateway, small)[0] == 200


def test_other_calls_take_no_more_than_before(gateway: GatewayProcess) -> None:
    path = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/broadcast"
    assert fetch(gateway, path, body=b" " * 9_000_000, headers={"Content-Type": "application/json"})[0] == 413


def test_what_cannot_be_committed_is_not_told_of(gateway: GatewayProcess) -> None:
    path = gateway.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
        database.execute("BEGIN IMMEDIATE")
        status, answer = send(gateway, "images", picture())
    assert (status, answer["msg"]) == (503, "The database cannot be written now, please try again.")
    assert send(gateway, "images", picture())[0] == 200


def test_who_leaves_in_the_middle_leaves_nothing_that_counts(gateway: GatewayProcess) -> None:
    before = change(gateway, "SELECT count(*) FROM conversations_upload")
    parts = urlsplit(gateway.url)
    body = form(b"x" * 1_000_000, "a.txt")
    with socket.create_connection((parts.hostname, parts.port)) as peer:
        head = f"POST /api/v1/files/documents HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n"
        peer.sendall(head.encode() + f"Content-Type: {MULTIPART['Content-Type']}\r\n\r\n".encode() + body[:500_000])
    assert send(gateway, "images", picture())[0] == 200
    assert change(gateway, "SELECT count(*) FROM conversations_upload")[0][0] == before[0][0] + 1


# --- Who may -------------------------------------------------------------------------------------


def test_who_may_ask_may_send_and_nobody_else(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    allowed = {"Authorization": f"Bearer {make_token()}"}
    assert send(guarded, "images", picture(), headers=allowed)[0] == 200
    assert send(guarded, "images", picture(), headers=allowed, query=f"?pipeline_uuid={DEFAULT_PIPELINE}")[0] == 200
    reader = {"Authorization": f"Bearer {make_token(scopes='read')}"}
    assert send(guarded, "images", picture(), headers=reader)[0] == 403
    for headers in ({}, SHOP, {"Authorization": "Bearer wrong"}):
        for query in ("", f"?pipeline_uuid={DEFAULT_PIPELINE}", "?pipeline_uuid=nonsense"):
            assert send(guarded, "images", picture(), headers=headers, query=query)[0] == 401
    assert send(guarded, "images", picture(), headers={**allowed, "Origin": "https://evil.example"})[0] == 403
    missing = {"code": -1, "msg": "Pipeline not found"}
    for name in ("nonsense", OTHER):
        assert send(guarded, "images", picture(), headers=allowed, query=f"?pipeline_uuid={name}") == (404, missing)


def test_a_visitor_of_a_public_pipeline_may_from_an_allowed_page_and_not_without_end(public: GatewayProcess) -> None:
    query = f"?pipeline_uuid={DEFAULT_PIPELINE}"
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert send(public, "images", picture(), headers=headers, query=query)[0] in {401, 403}
    assert send(public, "images", picture(), headers=SHOP)[0] == 401  # names no pipeline
    assert send(public, "images", picture(), headers={"Origin": public.url}, query=query)[0] == 200
    statuses = [send(public, "images", picture(), headers=SHOP, query=query) for _ in range(40)]
    assert {status for status, _ in statuses} == {200, 429}
    assert statuses[-1][1]["msg"].startswith("Too many requests, please try again in ")


def test_whoever_has_the_key_may_read(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    data = sent(guarded, "images", picture(), headers={"Authorization": f"Bearer {make_token()}"})
    assert fetch(guarded, data["url"])[0] == 200
    assert fetch(guarded, f"{data['url']}/thumbnail", headers={"Origin": "https://shop.example"})[0] == 200
    assert fetch(guarded, data["url"][:-1] + "_")[0] in {404, 200 if data["url"].endswith("_") else 404}
