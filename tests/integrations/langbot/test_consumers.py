"""The pipeline wire's socket, spoken to by a foreign client on a real server."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from conversations.types import room_key
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, answer, is_final, is_type
from tests.support.rest import acall, below, history
from tests.support.server import GatewayProcess


async def test_the_greeting_names_connection_pipeline_and_session(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        greeting = client.connected
        assert set(greeting) == {
            "type", "connection_id", "pipeline_uuid", "session_type", "timestamp", "session_id", "resume_token",
            "last_seq",
        }  # fmt: skip
        assert (greeting["type"], greeting["pipeline_uuid"]) == ("connected", DEFAULT_PIPELINE)
        assert greeting["session_type"] == "person"
        assert greeting["timestamp"].endswith("+00:00")


async def test_everybody_in_a_session_sees_the_question_and_the_answer(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as first:
        second = await PipelineClient.connect(gateway, session_id=first.session_id, resume_token=first.resume_token)
        frames = await first.ask("What does acknowledged mean?")
        seen = await second.until(is_final)
        assert [frame for frame in seen if frame["type"] == "user_message"] == frames[:1]
        assert seen[-1] == frames[-1]
        assert frames[0]["data"]["connection_id"] == first.connected["connection_id"]
        assert frames[-1]["data"]["connection_id"] == ""
        await second.close()


async def test_visitors_do_not_see_each_other(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as first, await PipelineClient.connect(gateway) as second:
        assert first.session_id != second.session_id
        await first.ask("secret of the first")
        frames = await second.ask("question of the second")
        assert all("first" not in str(frame["data"].get("content")) for frame in frames if "data" in frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("nonsense", "Invalid JSON format"),
        ('{"type":"ping","type":"ping"}', "Invalid JSON format"),
        ('{"type":"message","message":[NaN]}', "Invalid JSON format"),
        ("[]", "a frame must be a JSON object"),
        ('{"type":7}', "type must be a string"),
        ('{"message":"hi"}', "message must be a list"),
        ('{"message":[{"type":"Plain"}]}', "message[0].text is required"),
        ('{"message":[{"type":"Plain","text":"a"},{"type":"At"}]}', "message[1].target is required"),
    ],
)
async def test_a_bad_frame_gets_an_error_and_the_socket_stays(
    gateway: GatewayProcess, frame: str, message: str
) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send(frame)
        assert await client.recv() == {"type": "error", "message": message}
        assert (await client.ping())["type"] == "pong"


async def test_an_unknown_type_is_ignored_and_binary_frames_are_read(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"type": "dance"})
        await client.send(b'{"type":"ping"}')
        assert (await client.recv())["type"] == "pong"


async def test_ten_bad_frames_close_with_1008(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        for _ in range(10):
            await client.send("nonsense")
        assert await client.closed() == 1008


async def test_goodbye_closes_with_1000(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"type": "disconnect"})
        assert await client.closed() == 1000


async def test_an_empty_message_is_echoed_and_not_answered(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"message": []})
        frame = await client.recv()
        assert (frame["type"], frame["data"]["content"], frame["data"]["seq"]) == ("user_message", "", 1)
        assert (await client.recv_after_ping()) == []


async def test_without_stream_there_is_one_final_frame(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        frames = await client.ask("What can you do?", stream=False)
        assert [frame["type"] for frame in frames] == ["user_message", "response"]


async def test_components_of_every_kind_are_echoed_as_they_came(gateway: GatewayProcess) -> None:
    chain = [
        {"type": "Plain", "text": "see "},
        {"type": "At", "target": "bob", "display": "Bob"},
        {"type": "AtAll"},
        {"type": "Quote", "id": "1", "origin": [{"type": "Plain", "text": "earlier"}]},
        {"type": "Image", "url": "https://example.com/a.png"},
        {"type": "Voice", "path": "v.ogg", "length": 2},
        {"type": "File", "name": "a.pdf", "size": 3},
        {"type": "Face", "face_id": 14},
    ]
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"message": chain})
        data = (await client.recv())["data"]
        assert data["message_chain"] == chain
        assert data["content"] == "see @Bob@All> earlier\n[Image][Voice][File]"


async def test_the_same_client_msg_id_is_answered_once(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        key = uuid4().hex
        frames = await client.ask("What can you do?", client_msg_id=key)
        await client.say("What can you do?", client_msg_id=key)
        again = await client.until(is_final)
        assert [again[0], again[-1]] == [frames[0], frames[-1]]
        await client.say("Something else", client_msg_id=key)
        error = await client.recv()
        assert error["type"] == "error"
        assert "client_msg_id" in error["message"]
        assert len(history(gateway, query=f"?session_id={client.session_id}")) == 2


async def test_a_session_is_reentered_and_what_was_missed_is_replayed(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        for question in ("first question", "second question"):
            await client.ask(question)
        session: dict[str, Any] = {"session_id": client.session_id, "resume_token": client.resume_token}
    async with await PipelineClient.connect(gateway, last_seq=1, **session) as client:
        assert client.connected["last_seq"] == 4
        assert await client.recv() == {"type": "resumed", "resumed": True, "last_seq": 4}
        assert [(await client.recv())["data"]["seq"] for _ in range(3)] == [2, 3, 4]
        await client.send({"type": "resume", "last_seq": 3})
        assert (await client.recv())["resumed"]
        assert (await client.recv())["data"]["seq"] == 4
        await client.send({"type": "resume", "last_seq": 99})
        assert await client.recv() == {"type": "resumed", "resumed": False, "last_seq": 4}
        assert (await client.ask("third question"))[0]["data"]["seq"] == 5


async def test_a_resume_after_what_is_no_number_is_told_of_and_nothing_is_replayed(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("first question")
        session: dict[str, Any] = {"session_id": client.session_id, "resume_token": client.resume_token}
    async with await PipelineClient.connect(gateway, last_seq="abc", **session) as client:
        assert await client.recv() == {"type": "error", "message": "last_seq must be a whole number, not below 0"}
        assert (await client.ask("second question"))[0]["data"]["seq"] == 3


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_a_session_is_not_reentered_without_its_token(gateway: GatewayProcess, token: str) -> None:
    async with (
        await PipelineClient.connect(gateway) as owner,
        await PipelineClient.connect(gateway, session_id=owner.session_id, resume_token=token) as stranger,
    ):
        assert stranger.connected == {"type": "error", "message": "Session not found"}
        assert await stranger.closed() == 4003


async def test_a_reset_starts_anew_and_seq_goes_on(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("before the reset")
        query = f"?session_id={client.session_id}"
        status, done = await acall(gateway, "POST", below(f"reset/person{query}"))
        assert (status, done["data"]["message"]) == (200, "Session reset successfully")
        assert history(gateway, query=query) == []
        assert (await client.ask("after the reset"))[0]["data"]["seq"] == 3
        assert [message["seq"] for message in history(gateway, query=query)] == [3, 4]


async def test_a_group_answers_when_addressed(gateway: GatewayProcess) -> None:
    room = uuid4().hex
    async with (
        await PipelineClient.connect(gateway, "group", session_id=room) as first,
        await PipelineClient.connect(gateway, "group", session_id=room) as second,
    ):
        assert first.session_id == second.session_id == room
        await first.say("just talking among ourselves")
        await second.until(is_type("user_message"))
        await first.send(
            {"message": [{"type": "At", "target": "websocketbot"}, {"type": "Plain", "text": " What can you do?"}]}
        )
        frames = await second.until(is_final)
        asker = first.connected["connection_id"]
        assert frames[-1]["data"]["message_chain"][0] == {"type": "At", "target": f"websocket_{asker}"}
        assert answer(frames).startswith(f"@websocket_{asker}")
        assert frames[-1]["data"]["seq"] == 3, "the talk before was not answered"
        await second.say("ai what can you do?")
        assert (await first.until(is_final, 15))[-1]["data"]["seq"] in {3, 5}


async def test_a_broadcast_reaches_every_socket_of_the_pipeline(gateway: GatewayProcess) -> None:
    async with (
        await PipelineClient.connect(gateway) as person,
        await PipelineClient.connect(gateway, "group") as group,
    ):
        await acall(gateway, "POST", below("broadcast"), {"message": {"maintenance": True}})
        for client in (person, group):
            frame = await client.recv()
            assert (frame["type"], frame["message"]) == ("broadcast", {"maintenance": True})
        await acall(gateway, "POST", below("broadcast"), {"message": "groups only", "session_type": "group"})
        assert (await group.recv())["message"] == "groups only"
        assert (await person.ping())["type"] == "pong"


async def test_a_bad_session_type_is_told_and_closed(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, "crowd") as client:
        assert client.connected == {"type": "error", "message": "session_type must be person or group"}
        assert await client.closed() == 1000


@pytest.mark.parametrize("pipeline", ["nonsense", "00000000-0000-4000-8000-0000000000ff"])
async def test_an_unknown_pipeline_is_told_and_closed(gateway: GatewayProcess, pipeline: str) -> None:
    async with await PipelineClient.connect(gateway, pipeline=pipeline) as client:
        assert client.connected == {"type": "error", "message": "Pipeline not found"}
        assert await client.closed() == 4004


@pytest.mark.parametrize(
    ("origin", "status"),
    [("null", 403), ("https://evil.example", 403), ("http://localhost:3000", 101), ("http://127.0.0.1:9", 101)],
)
async def test_origins_are_checked_before_the_upgrade(gateway: GatewayProcess, origin: str, status: int) -> None:
    if status == 101:
        async with await PipelineClient.connect(gateway, headers={"Origin": origin}) as client:
            assert client.connected["type"] == "connected"
        return
    with pytest.raises(InvalidStatus) as refused:
        await PipelineClient.connect(gateway, headers={"Origin": origin})
    assert refused.value.response.status_code == status


async def test_a_proxy_does_not_publish_open_access(gateway: GatewayProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await PipelineClient.connect(gateway, headers={"X-Forwarded-For": "203.0.113.9"})
    assert refused.value.response.status_code == 403
    status, _ = await acall(gateway, "GET", "", headers={"Forwarded": "for=203.0.113.9"})
    assert status == 403


async def test_an_unknown_socket_path_is_404_before_the_upgrade(gateway: GatewayProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{gateway.ws_url}/nowhere", proxy=None)
    assert refused.value.response.status_code == 404


async def test_a_handshake_that_is_too_long_is_refused(gateway: GatewayProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await PipelineClient.connect(gateway, token="x" * 9000)
    assert refused.value.response.status_code == 400


async def test_refusals_leave_no_fault_in_the_log(gateway: GatewayProcess) -> None:
    for path, headers in (("/nowhere", {}), ("/", {"Origin": "https://evil.example"})):
        with pytest.raises(InvalidStatus):
            await connect(f"{gateway.ws_url}{path}", additional_headers=headers, proxy=None)
    assert "error" not in gateway.log().lower()


async def test_the_wire_answers_below_websocket_too(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(f"{gateway.ws_url}/websocket") as client:
        assert client.connected["type"] == "connected"


async def test_an_authenticate_frame_is_ignored_in_open_mode(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"type": "authenticate", "token": "x", "workspace_uuid": "w"})
        assert (await client.ping())["type"] == "pong"


async def test_a_room_is_not_entered_as_a_persons_session(gateway: GatewayProcess) -> None:
    room = uuid4().hex
    async with await PipelineClient.connect(gateway, "group", session_id=room) as member:
        key = room_key(UUID(DEFAULT_PIPELINE), room)
        async with await PipelineClient.connect(
            gateway, session_id=str(key.uuid), resume_token=member.resume_token
        ) as stranger:
            assert stranger.connected == {"type": "error", "message": "Session not found"}
