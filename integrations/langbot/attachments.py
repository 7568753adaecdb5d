"""The files of a message: what comes inline is kept as an upload, and what is said of one is the server's word."""

import asyncio
import binascii
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from connections.auth import Principal, Scope, may
from conversations.responders.base import PipelineConfig
from conversations.types import SessionKey, Upload
from conversations.uploads import selectors
from conversations.uploads.kinds import Kind, UploadRefused
from conversations.uploads.shelf import Sent, derived_key, is_key
from integrations.errors import Limited, WireError
from integrations.langbot.components import Attachment, File, Image, Quote
from integrations.langbot.protocol import ChatMessage
from integrations.limiting import admit_upload
from integrations.parts import Parts
from integrations.peers import Peer
from integrations.strict import ProtocolError

ATTACHMENTS = 10  # files of one message
IN_LINE = 8  # messages of one connection whose files are looked at, and those behind them
IN_LINE_RETRY = 1  # seconds after which one that was refused may be sent again
_DATA_URL = re.compile(r"data:[^,;]{0,100}(?:;[^,;]{1,100}){0,4};base64,", re.IGNORECASE)
_INLINE = '"base64"'  # in a chain: perhaps in a quotation, too
Chain = list[dict[str, Any]]


class Prepared(NamedTuple):
    """A message as it is asked, and the keys of the files that belong to it."""

    frame: ChatMessage
    uploads: tuple[str, ...]


class Attachments:
    """Prepares the messages of one session; those of one connection stay in the order in which they came."""

    def __init__(self, parts: Parts, peer: Peer) -> None:
        self._parts = parts
        self._peer = peer
        self._waiting = 0
        self._lock = asyncio.Lock()  # whoever waits for it longest has it next

    def concern(self, frame: ChatMessage) -> bool:
        """Tell whether a message has files, or stands behind one that has."""
        return self._waiting > 0 or any(_key_in(part) for part in frame.components) or _INLINE in frame.chain

    def stand_in_line(self) -> None:
        """Take a place for a message; raise Limited where too many wait."""
        if self._waiting >= IN_LINE:
            raise Limited(IN_LINE_RETRY)
        self._waiting += 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a message's turn, and give its place back."""
        try:
            async with self._lock:
                yield
        finally:
            self._waiting -= 1

    async def prepare(
        self, frame: ChatMessage, principal: Principal, session: SessionKey, pipeline: PipelineConfig, *,
        knows_keys: bool,
    ) -> Prepared:  # fmt: skip
        """Keep what a message brings with it, and put into its components what is known of its files.

        To whoever `knows_keys` a path in the form of one is one; LangBot's clients may mean something else by it.
        Raises ProtocolError, which names the field at fault, WireError, or a StoreError.
        """
        inline = {at: part for at, part in enumerate(frame.components) if _is_inline(part)}
        named = {at: key for at, part in enumerate(frame.components) if (key := _key_in(part))}
        if len(inline) + len(named) > ATTACHMENTS:
            raise ProtocolError(f"message must have at most {ATTACHMENTS} files")
        if inline and not may(principal, Scope.WRITE):
            raise WireError("Forbidden")
        known = await self._find(pipeline, list(named.values()))
        found = {at: known[key] for at, key in named.items() if key in known}
        if knows_keys and (gone := named.keys() - found.keys()):
            raise ProtocolError(f"message[{min(gone)}].path is no file that is here, please send it again")
        for at, part in inline.items():
            found[at] = await self._keep(at, part, frame, principal, session, pipeline)
        return Prepared(_with(frame, found), tuple(dict.fromkeys(upload.key for upload in found.values())))

    async def _find(self, pipeline: PipelineConfig, keys: Sequence[str]) -> dict[str, Upload]:
        return await self._parts.store.read(selectors.uploads, pipeline.uuid, keys) if keys else {}

    async def _keep(
        self, at: int, part: Any, frame: ChatMessage, principal: Principal, session: SessionKey,
        pipeline: PipelineConfig,
    ) -> Upload:  # fmt: skip
        """Keep what stands inline in a component; sent again with the same message id, it is the same upload."""
        field = f"message[{at}].base64"
        uploads = self._parts.uploads
        sent, digest = await uploads.look_at(partial(_decode, part, field, uploads.largest))
        key = ""
        if frame.client_msg_id:
            key = derived_key(str(session.uuid), frame.client_msg_id, str(at), digest)
            if upload := (await self._find(pipeline, [key])).get(key):
                return upload
        await admit_upload(self._parts, principal, self._peer)
        read: Callable[[], Sent] = lambda: sent  # noqa: E731  with its type
        kind: Kind | None = "image" if isinstance(part, Image) else None
        try:
            return await uploads.keep(
                read, kind, size=len(sent.content), pipeline_id=pipeline.id, address=self._peer.network, key=key
            )
        except UploadRefused as error:
            raise ProtocolError(f"{field} {error}") from error


def _is_inline(part: Any) -> bool:
    return isinstance(part, Attachment) and bool(part.base64)


def _key_in(part: Any) -> str:
    """Return the key that a component names, or nothing."""
    path = part.path or "" if isinstance(part, Attachment) and not part.base64 else ""
    return path if is_key(path) else ""


def _decode(part: Attachment, field: str, largest: int) -> tuple[Sent, str]:
    """Return the file in a component, bare or as a data URL, and its digest."""
    text = part.base64 or ""
    if text[:5].lower() == "data:":
        if not (head := _DATA_URL.match(text)):
            raise ProtocolError(f"{field} must be base64, or a data URL of it")
        text = text[head.end() :]
    if len(text) // 4 * 3 > largest + 3:
        raise ProtocolError(f"{field} is larger than {largest} bytes")
    try:
        content = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"{field} must be base64, or a data URL of it") from error
    name = (part.name if isinstance(part, File) else None) or ""
    return Sent(name, content), sha256(content).hexdigest()


def _with(frame: ChatMessage, found: dict[int, Upload]) -> ChatMessage:
    """Return a message with what is known of its files, and without what came inline, in quotations too."""
    chain: Chain = msgspec.json.decode(frame.chain)
    for at, (part, item) in enumerate(zip(frame.components, chain, strict=True)):
        if isinstance(part, Quote):
            _strip(item["origin"])
        if upload := found.get(at):
            item.pop("base64", None)
            item.pop("url", None)
            item.update(path=upload.key, name=upload.name, size=upload.size)
            if upload.kind == "image":
                item.update(width=upload.width, height=upload.height)
    components = tuple(
        msgspec.structs.replace(part, base64=None) if isinstance(part, Attachment) else part
        for part in frame.components
    )
    return msgspec.structs.replace(frame, components=components, chain=msgspec.json.encode(chain).decode())


def _strip(origin: Any) -> None:
    """Leave out what stands inline in a quotation: whoever said it first has sent it."""
    for item in origin if isinstance(origin, list) else ():
        if isinstance(item, dict):
            if item.get("base64"):
                del item["base64"]
            _strip(item.get("origin"))
