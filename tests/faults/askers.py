"""Who asks the same question again by the same id, on every wire that has one."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar
from uuid import uuid4

from tests.faults.visitors import PATIENCE, is_echo
from tests.support.clients import Frame, PipelineClient, is_final
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient
from tests.support.yishiting import caller, events, text_of


class Asker(ABC):
    """Somebody with a session of his own; each question goes over a connection of its own."""

    wire: ClassVar[str]
    refused: ClassVar[Any]  # what is said to an id that was used for something else

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.name = uuid4().hex

    @abstractmethod
    async def enter(self) -> None:
        """Get a session, where the first question does not make it."""

    @abstractmethod
    async def ask(self, text: str, id_: str) -> str:
        """Ask, and return the answer, of which there is one."""

    @abstractmethod
    async def refusal(self, text: str, id_: str) -> Any:
        """Ask under an id that was used for something else, and return what is said to it."""


class PipelineAsker(Asker):
    """By `client_msg_id` on the pipeline wire."""

    wire = "pipeline"
    refused = {"type": "error", "message": "client_msg_id was already used for another message"}
    session: dict[str, Any]

    async def enter(self) -> None:
        async with await PipelineClient.connect(self.gateway) as client:
            self.session = {"session_id": client.session_id, "resume_token": client.resume_token}

    async def ask(self, text: str, id_: str) -> str:
        async with await PipelineClient.connect(self.gateway, **self.session) as client:
            await client.say(text, client_msg_id=id_)
            # Everybody in the session hears the answer, so it may come before this one's asking was noticed; whoever
            # waits for his acknowledgement first is told it after that too.
            frames = await client.until(lambda frame: is_echo(frame, text), PATIENCE)
            frames += await client.until(is_final, PATIENCE)
            answers = {(frame["data"]["id"], frame["data"]["content"]) for frame in frames if is_final(frame)}
            assert len(answers) == 1, "one answer, however often it is told"
            return str(frames[-1]["data"]["content"])

    async def refusal(self, text: str, id_: str) -> Any:
        async with await PipelineClient.connect(self.gateway, **self.session) as client:
            await client.say(text, client_msg_id=id_)
            return await client.recv()


class WeChatAsker(Asker):
    """By `id` on the WeChat wire."""

    wire = "wechat"
    refused = {
        "type": "chat_response",
        "code": 409,
        "message": "该消息ID已用于其他消息",
        "data": {"request_id": "first"},
    }

    async def enter(self) -> None:
        """Need nothing: the login is enough."""

    async def ask(self, text: str, id_: str) -> str:
        async with await WeChatClient.open(self.gateway, login=self.name) as client:
            frames = await client.chat(text, id=id_)
            assert [frame["type"] for frame in frames] == ["chat_processing", "chat_response"]
            assert not await client.recv_after_ping(), "one end"
            assert frames[-1]["code"] == 0
            return str(frames[-1]["data"]["msg"])

    async def refusal(self, text: str, id_: str) -> Any:
        async with await WeChatClient.open(self.gateway, login=self.name) as client:
            return (await client.chat(text, id=id_))[-1]


class YishitingAsker(Asker):
    """By `msg_id` on 易事厅's wire, as a stream and as a whole in turn."""

    wire = "yishiting"
    refused = (409, {"code": 1, "err_msg": "msg_id已用于其他消息"})
    asked = 0

    async def enter(self) -> None:
        """Need nothing."""

    async def ask(self, text: str, id_: str) -> str:
        self.asked += 1
        async with caller(self.gateway) as client:
            if self.asked % 2:
                return text_of(events((await client.post("/chat", json=self._body(text, id_))).content))
            answer: Frame = (await client.post("/chat/sync", json=self._body(text, id_))).json()
            return str(answer["msg_content"])

    async def refusal(self, text: str, id_: str) -> Any:
        async with caller(self.gateway) as client:
            response = await client.post("/chat", json=self._body(text, id_))
            return response.status_code, response.json()

    def _body(self, text: str, id_: str) -> dict[str, Any]:
        return {"user": self.name, "msg_type": "text", "content": text, "msg_id": id_}
