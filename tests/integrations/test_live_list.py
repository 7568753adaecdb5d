"""What staff's list says of the connections of each wire, from their beginning to their end."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.clients import PipelineClient
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.staff import Staff
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient
from tests.support.yishiting import Stream, caller, events, question

PAGE = "/admin/connections/connection/"
FIRST_WORDS = b'"response":"tok00 '


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    with model_in_thread() as model:
        yield model


@pytest.fixture(scope="module")
def gateway(serve: Serve, model: FakeModel) -> Iterator[GatewayProcess]:
    with serve(model=model.base_url()) as gateway:
        yield gateway


def rows(gateway: GatewayProcess, wire: str) -> list[dict[str, Any]]:
    """Return the connections of a wire, the newest first."""
    path = gateway.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        statement = "SELECT * FROM connections_connection WHERE wire = ? ORDER BY id DESC"
        return [dict(row) for row in connection.execute(statement, [wire])]


async def says(gateway: GatewayProcess, wire: str, **fields: Any) -> dict[str, Any]:
    """Return the newest connection of a wire once it has these fields."""

    async def is_so() -> bool:
        return bool(found := rows(gateway, wire)) and fields.items() <= found[0].items()

    await eventually(is_so, timeout=15, what=f"{wire}: {fields}")
    return rows(gateway, wire)[0]


async def test_a_room_has_its_name_and_a_person_none(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, "group", session_id="lobby"):
        await says(gateway, "langbot", client="lobby", session_type="group", ended_at=None)
    async with await PipelineClient.connect(gateway):
        await says(gateway, "langbot", client="", session_type="person", ended_at=None)


async def test_a_visitor_is_known_by_his_session_also_when_he_goes_into_another(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as first:
        known = first.credentials
    name = f"visitor {known['client_id'][:8]}"
    await says(gateway, "contact", client=name)
    async with await ContactClient.connect(gateway) as second:
        await second.send({"type": "resume", **known, "last_seq": 0})
        await says(gateway, "contact", client=name, session=known["client_id"].replace("-", ""), ended_at=None)


async def test_a_hub_client_has_its_id(gateway: GatewayProcess) -> None:
    async with await HubClient.connect(gateway, "/service/天气"):
        await says(gateway, "postoffice", client="/service/天气", ended_at=None)


async def test_a_mini_programs_user_is_known_once_he_has_logged_in(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway) as client:
        await says(gateway, "wechat", client="", session=None)
        await client.log_in("somebody")
        openid = str(client.account["openid"])
        session = client.session_id.replace("-", "")
        row = await says(gateway, "wechat", client=f"unverified user {openid[-4:]}", session=session)
        assert (row["session_type"], row["ended_at"]) == ("person", None)
        assert openid not in str(row)


async def test_a_streamed_answer_is_a_connection_until_its_end(gateway: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.OK
    body = question(session_id="counter 3")
    async with caller(gateway) as client:
        response = await client.post("/chat", json=body)
    row = await says(gateway, "yishiting", client="counter 3", close_code=1000, close_reason="")
    assert (row["messages_in"], row["messages_out"]) == (1, len(events(response.content)))
    assert (row["bytes_in"], row["bytes_out"]) == (len(response.request.content), len(response.content))


async def test_a_caller_who_hangs_up_leaves_the_list(gateway: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.STALL
    async with Stream(gateway, question(session_id="leaver")) as stream:
        await stream.until(FIRST_WORDS)
        await says(gateway, "yishiting", client="leaver", ended_at=None)
    await says(gateway, "yishiting", client="leaver", close_code=1006, close_reason="the caller left")


async def test_staff_ends_a_streamed_answer_with_the_words_of_its_page(
    gateway: GatewayProcess, model: FakeModel
) -> None:
    model.mode = Mode.STALL
    staff = await asyncio.to_thread(Staff, gateway)
    async with Stream(gateway, question(session_id="endless")) as stream:
        await stream.until(FIRST_WORDS)
        row = await says(gateway, "yishiting", client="endless", ended_at=None)
        form = {"action": "close_selected", "_selected_action": row["id"], "code": "1013", "reason": "换个时间"}
        assert "1 connection asked to close with 1013" in await asyncio.to_thread(staff.post, PAGE, **form)
        await stream.until('"response":"换个时间","finished":true'.encode())
    await says(gateway, "yishiting", client="endless", close_code=1013, close_reason="换个时间")
    await asyncio.to_thread(model.calls[-1].wait, 2)
    assert model.calls[-1].left_early
    staff.close()
