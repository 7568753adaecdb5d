"""Files that operators send: who may, what is refused, and how each wire tells of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest

from tests.conftest import Serve
from tests.support.admin import PASSWORD, make_staff
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, is_type
from tests.support.contact import ContactClient
from tests.support.environment import QUICK
from tests.support.files import PDF, picture
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient

LARGEST = 200_000
PUBLIC_URL = "http://shop.example"
HOSTILE = "../<img src=x onerror=fired()>\n\u202egpj.猫.png"


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    with serve(MAX_UPLOAD_BYTES=str(LARGEST), PUBLIC_URL=PUBLIC_URL, **QUICK) as gateway:
        make_staff(gateway, ann="Operator", ben="Operator", vera="Viewer")
        yield gateway


class Operator:
    """Somebody of staff in one conversation, without a browser."""

    def __init__(self, gateway: GatewayProcess, name: str, session: str) -> None:
        self.client = httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30)
        self.session = session
        self.client.get("/admin/login/")
        self.client.post("/admin/login/", data={**self.token, "username": name, "password": PASSWORD})

    @property
    def token(self) -> dict[str, str]:
        return {"csrfmiddlewaretoken": self.client.cookies["csrftoken"]}

    async def upload(self, content: bytes, name: str, **headers: str) -> httpx2.Response:
        """Send a file, and return what is said of it."""
        headers = {"X-CSRFToken": self.token["csrfmiddlewaretoken"], "X-File-Name": quote(name), **headers}
        headers = {"Content-Type": "application/octet-stream", **headers}
        url = f"/admin/desk/{self.session}/files/"
        return await asyncio.to_thread(self.client.post, url, content=content, headers=headers)

    async def sent(self, content: bytes, name: str) -> str:
        """Send a file that is taken, and return its key."""
        answer = await self.upload(content, name)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    async def act(self, deed: str, text: str = "", *uploads: str, **fields: str) -> httpx2.Response:
        data: dict[str, Any] = {**self.token, "text": text, "upload": list(uploads), **fields}
        return await asyncio.to_thread(self.client.post, f"/admin/desk/{self.session}/{deed}/", data=data)

    async def says(self, text: str, *uploads: str, **fields: str) -> None:
        answer = await self.act("reply", text, *uploads, **fields)
        assert answer.status_code == 204, answer.text


Desk = Callable[[str, str], Operator]


@pytest.fixture
def at_the_desk(gateway: GatewayProcess) -> Iterator[Desk]:
    """A function that logs somebody of staff in, by name, at a conversation."""
    with ExitStack() as leaving:

        def come(name: str, session: str) -> Operator:
            operator = Operator(gateway, name, session)
            leaving.callback(operator.client.close)
            return operator

        yield come


@pytest.fixture
async def visitor(gateway: GatewayProcess) -> AsyncIterator[PipelineClient]:
    """A visitor at the pipeline wire, whom the bot has answered."""
    async with await PipelineClient.connect(gateway, rich=1) as visitor:
        await visitor.say("Hello")
        await visitor.until(lambda frame: frame["type"] == "response" and frame["data"]["is_final"])
        yield visitor


def links(text: str) -> list[tuple[str, str]]:
    """Return the lines of a text that tell of files, each with its address apart."""
    found = re.findall(r"^(\[(?:Image|File)\] .*) (\S+)$", text, re.MULTILINE)
    return [(words, address) for words, address in found]


async def test_the_pipeline_wire_shows_files_when_they_are_said_and_in_the_history(
    gateway: GatewayProcess, at_the_desk: Desk, visitor: PipelineClient
) -> None:
    ann = at_the_desk("ann", visitor.session_id)
    shop, notes = await ann.sent(picture("PNG", (600, 300)), "shop.png"), await ann.sent(PDF, "notes.pdf")
    await ann.says("See **this**", shop, notes)
    frame = (await visitor.until(is_type("response")))[-1]
    data = frame["data"]
    assert [(part["type"], part.get("text") or part["path"]) for part in data["message_chain"]] == [
        ("Plain", "See **this**"),
        ("Image", shop),
        ("File", notes),
    ]
    image, document = data["message_chain"][1:]
    assert (image["name"], image["width"], image["height"]) == ("shop.png", 600, 300)
    assert (document["name"], document["size"], document["url"]) == ("notes.pdf", len(PDF), f"/api/v1/files/{notes}")
    assert (data["content"], data["sender"]) == ("See **this**[Image][File]", {"kind": "operator", "name": "ann"})
    assert data["html"] == "<p>See <strong>this</strong></p>\n"
    answer = await asyncio.to_thread(httpx2.get, f"{gateway.url}{document['url']}", trust_env=False)
    assert (answer.content, answer.headers["content-type"]) == (PDF, "application/pdf")
    query = f"session_id={visitor.session_id}&resume_token={visitor.resume_token}&rich=1"
    url = f"{gateway.url}/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/messages/person?{query}"
    history = await asyncio.to_thread(httpx2.get, url, trust_env=False)
    assert history.json()["data"]["messages"][-1] == data


async def test_wires_that_know_only_text_tell_of_files_with_their_addresses(
    gateway: GatewayProcess, at_the_desk: Desk
) -> None:
    async with await ContactClient.connect(gateway) as visitor:
        await visitor.request("我想联系博主")
        ann = at_the_desk("ann", str(visitor.established["client_id"]))
        key = await ann.sent(picture(), HOSTILE)
        await ann.says("看这里", key)
        owner = await visitor.until(lambda frame: frame.get("sender") == "owner")
        assert owner[-1]["message"].startswith("看这里\n[Image] ")
        ((_, address),) = links(owner[-1]["message"])
        assert address == f"{PUBLIC_URL}/api/v1/files/{key}"
    away = await WeChatClient.open(gateway, login="files")
    await away.send({"type": "chat", "query": "你好", "id": "q1"})
    await away.until(is_type("chat_response"))
    ann = at_the_desk("ann", away.session_id)
    key = await ann.sent(PDF, "指南.pdf")
    await ann.says("", key)
    await away.close()
    async with await WeChatClient.open(gateway) as back:
        await back.resume(away.resume_token)
        replayed = await back.until(lambda frame: "[File]" in str(frame))
        assert replayed[-1]["data"]["msg"] == f"[File] 指南.pdf {PUBLIC_URL}/api/v1/files/{key}"


async def test_a_reply_sent_again_is_one_reply_and_a_file_goes_once(at_the_desk: Desk, visitor: PipelineClient) -> None:
    ann, name = at_the_desk("ann", visitor.session_id), str(uuid4())
    key = await ann.sent(PDF, "a.pdf")
    for _ in range(2):
        await ann.says("", key, uuid=name)
    refused = await ann.act("reply", "", key)
    assert (refused.status_code, "already" in refused.json()["error"]) == (409, True)
    await ann.says("End")
    said = await visitor.until(lambda frame: frame.get("data", {}).get("content") == "End")
    assert [frame["data"]["content"] for frame in said if frame["type"] == "response"] == ["[File]", "End"]


async def test_what_is_no_such_file_is_refused_with_a_reason(at_the_desk: Desk, visitor: PipelineClient) -> None:
    ann = at_the_desk("ann", visitor.session_id)
    for content, name, status, reason in (
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", 400, "kind"),
        (b"<html><script>fired()</script>", "a.html", 400, "kind"),
        (b"\x89PNG\r\n\x1a\n", "a.png", 400, "damaged"),
        (b"%PDF-1.7", "half.pdf", 400, "damaged"),
        (b"", "nothing.txt", 400, "empty"),
        (b"x" * (LARGEST + 1), "large.txt", 413, "large"),
    ):
        answer = await ann.upload(content, name)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), name
        assert answer.json()["error"]
    assert (await ann.upload(picture(), HOSTILE)).json()["name"] == "<img src=x onerror=fired()>gpj.猫.png"


async def test_only_who_may_reply_in_a_conversation_sends_files_in_it(
    at_the_desk: Desk, visitor: PipelineClient
) -> None:
    ann, ben = (at_the_desk(name, visitor.session_id) for name in ("ann", "ben"))
    vera, nobody = at_the_desk("vera", visitor.session_id), at_the_desk("nobody", visitor.session_id)
    assert (await vera.upload(PDF, "a.pdf")).status_code == 403
    assert (await nobody.upload(PDF, "a.pdf")).status_code == 302  # to the login
    assert (await ann.upload(PDF, "a.pdf", **{"X-CSRFToken": "x" * 32})).status_code == 403
    assert (await asyncio.to_thread(ann.client.get, f"/admin/desk/{ann.session}/files/")).status_code == 405
    key = await ben.sent(PDF, "a.pdf")  # nobody has it yet
    assert (await ann.act("take")).status_code == 204
    refused = await ben.upload(PDF, "a.pdf")
    assert (refused.status_code, refused.json()["error"]) == (409, "ann has this conversation.")
    assert (await ben.act("reply", "Mine", key)).status_code == 409
    lost = at_the_desk("ann", str(uuid4()))
    assert (await lost.upload(PDF, "a.pdf")).status_code == 409


async def test_a_reply_has_words_or_files_and_ten_files_at_most(at_the_desk: Desk, visitor: PipelineClient) -> None:
    ann = at_the_desk("ann", visitor.session_id)
    keys = [await ann.sent(PDF, f"{number}.pdf") for number in range(11)]
    for deed, text, uploads, words in (
        ("reply", "", (), "There is nothing to send."),
        ("note", "", (keys[0],), "There is nothing to send."),
        ("reply", "x" * 5001, (keys[0],), "At most 5000 characters can be sent at once."),
        ("reply", "Look", keys, "At most 10 files go with one message."),
        ("reply", "Look", ("../etc/passwd",), "An attached file is not there any more, please send it again."),
    ):
        answer = await ann.act(deed, text, *uploads)
        assert (answer.status_code, answer.json()) == (409, {"error": words})
    await ann.says("", *keys[:10], keys[0])
    frame = (await visitor.until(is_type("response")))[-1]
    assert [part["path"] for part in frame["data"]["message_chain"]] == keys[:10]
