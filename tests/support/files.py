"""Files of every kind that may be sent, made as small as they can be, and ways to send them."""

import contextlib
import http.client
import json
import secrets
import zipfile
from email.message import Message
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from tests.support.server import GatewayProcess

_TYPES = '<?xml version="1.0"?><Types><Override PartName="/{part}" ContentType="{type}.main+xml"/></Types>'
_OFFICE = "application/vnd.openxmlformats-officedocument"
OFFICE = {
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "pptx": f"{_OFFICE}.presentationml.presentation",
}
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def picture(form: str = "PNG", size: tuple[int, int] = (60, 30), *, mode: str = "RGB", **options: Any) -> bytes:
    """Return a picture: its left half blue, its right half red."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, 0, size[0] // 2, size[1]))
    return encoded(image.convert(mode), form, **options)


def unique_picture(form: str = "PNG", size: tuple[int, int] = (16, 16)) -> bytes:
    """Return a picture that no other is like."""
    return encoded(Image.frombytes("RGB", size, secrets.token_bytes(size[0] * size[1] * 3)), form)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as a file."""
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    """Return the image in a file, decoded."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def office(kind: str = "docx", **parts: bytes) -> bytes:
    """Return an office document, with further parts."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES.format(part="main.xml", type=OFFICE.get(kind, kind)))
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def form(content: bytes, name: str, *, field: str = "file", boundary: str = "frontier") -> bytes:
    """Return a multipart form with a file."""
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    head = f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def send(
    gateway: GatewayProcess,
    kind: str,
    content: bytes,
    name: str = "a file",
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """Send a file to `images` or `documents`; return status and JSON."""
    multipart = {"Content-Type": "multipart/form-data; boundary=frontier"}
    status, _, body = fetch(
        gateway, f"/api/v1/files/{kind}{query}", body=form(content, name), headers={**multipart, **(headers or {})}
    )
    return status, json.loads(body)


def sent(gateway: GatewayProcess, kind: str, content: bytes, name: str = "a file", **more: Any) -> dict[str, Any]:
    """Send a file that is taken, and return what is said of it."""
    status, answer = send(gateway, kind, content, name, **more)
    assert status == 200, answer
    data: dict[str, Any] = answer["data"]
    return data


def fetch(
    gateway: GatewayProcess,
    path: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
) -> tuple[int, Message, bytes]:
    """Return status, headers and body of a call."""
    parts = urlsplit(gateway.url)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)) as connection:
        connection.connect()
        # Who says no to a large body has not read all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
