"""The dashboard and the command: the same numbers, each for those who may view what is counted."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from chatgateway.dashboard.status import make_status, read_status
from connections.metrics import BOUNDS
from connections.models import Connection, HubClient, Minute, Worker
from conversations.models import ChatSession, ContactRequest, Message, Pipeline, Turn

pytestmark = pytest.mark.django_db

SECRET = "我的秘密"
ROUND = [0] * 8 + [4] + [0] * (len(BOUNDS) - 8)  # four answers between 150 and 200 ms


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def house() -> UUID:
    """A worker with two connections, a session with an open turn and a request, a waiting letter; the worker's UUID."""
    now = timezone.now()
    pipeline = Pipeline.objects.create(name="Town hall")
    worker = Worker.objects.create(uuid=uuid4(), host="gateway-1", pid=41, beat=7, started_at=now)
    for wire, about in (("contact", pipeline.uuid), ("postoffice", None)):
        Connection.objects.create(
            uuid=uuid4(), worker=worker.uuid, wire=wire, pipeline=about, connected_at=now, last_active=now
        )
    session = ChatSession.objects.create(
        uuid=uuid4(), pipeline=pipeline, session_type="person", name=SECRET, wire="contact", created_at=now,
        last_message_at=now, waiting_since=now,
    )  # fmt: skip
    said = Message.objects.create(session=session, seq=1, role="user", text=SECRET, created_at=now)
    Turn.objects.create(id=said.pk + 1, session=session, question=said, state="running", created_at=now)
    done = Message.objects.create(session=session, seq=2, role="user", text=SECRET, created_at=now)
    for message, state in ((said, "notified"), (done, "closed")):
        ContactRequest.objects.create(uuid=uuid4(), pipeline=pipeline, message=message, state=state, created_at=now)
    HubClient.objects.create(client_id="/a", last_seq=3, first_seen=now, last_seen=now)
    this = now.replace(second=0, microsecond=0)
    for ago, messages, errors in ((0, 3, 0), (1, 50, 1), (58, 1, 5), (70, 1, 5)):
        Minute.objects.create(
            at=this - timedelta(minutes=ago), worker=worker.uuid, messages=messages, errors=errors, answers=4,
            first_words=ROUND, whole_answers=ROUND,
        )  # fmt: skip
    return worker.uuid


def tiles(page: str) -> dict[str, str]:
    """Return the tiles' numbers and notes by their names."""
    found = re.findall(r'</span>([^<]+)</span>\s*<b>(.*?)</b>\s*<span class="tile-note">(.*?)</span>', page)
    return {name: f"{value} {note}".strip() for name, value, note in found}


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_tiles_tell_how_it_is(house: UUID, admin_client: Client) -> None:
    assert tiles(admin_client.get("/admin/").content.decode()) == {
        "Connections": "2 on 1 worker",
        "Messages a minute": "50 3 so far in this one",
        "Turns in flight": "1 0 queued",
        "First words": "175 ms p50 · p95 198 ms",
        "Whole answer": "175 ms p50 · p95 198 ms",
        "Errors": "6 in the last hour",
        "Waiting for a person": "1 conversation",
        "Contact requests": "1 without a reply",
        "Mailboxes waiting": "1 3 letters",
        "Workers": "1 with a lease",
    }


def test_an_empty_gateway_has_a_dashboard_too(admin_client: Client) -> None:
    page = admin_client.get("/admin/?span=day").content.decode()
    assert tiles(page)["First words"] == "– no answer in 5 minutes"
    assert "No worker runs." in page


def test_the_fragment_holds_the_page_s_live_parts(house: UUID, admin_client: Client) -> None:
    page, fragment = (admin_client.get(path).content.decode() for path in ("/admin/", "/admin/dashboard/"))
    ids = re.findall(r'<div id="(\S+)"[^>]* data-live=', page)
    assert ids == re.findall(r'<div id="(\S+)"[^>]* data-live=', fragment) == [
        "dashboard-now", "dashboard-charts", "dashboard-people",
    ]  # fmt: skip
    assert tiles(page) == tiles(fragment)
    assert "<html" not in fragment


@pytest.mark.parametrize(("span", "periods", "unit"), [("hour", 60, "a minute"), ("day", 144, "in 10 minutes")])
def test_charts_show_an_hour_or_a_day(house: UUID, admin_client: Client, span: str, periods: int, unit: str) -> None:
    page = admin_client.get(f"/admin/dashboard/?span={span}").content.decode()
    charts = re.findall(r'<figure class="panel graph".*?</figure>', page, re.DOTALL)
    assert len(charts) == 6
    assert {len(re.findall("<path[^>]*><title>", chart)) for chart in charts} == {periods}
    assert f"<b>Messages</b> <span>{unit}</span>" in page


def test_whoever_may_see_nothing_is_told_so(house: UUID) -> None:
    page = staff().get("/admin/dashboard/").content.decode()
    assert "Nothing here is for you to see yet" in page
    assert tiles(page) == {}
    for part in ("<a ", "<svg", "<table", "Town hall", "gateway-1", "data-waiting-count", SECRET):
        assert part not in page


@pytest.mark.parametrize(
    ("permission", "names", "charts", "shown", "hidden"),
    [
        ("view_connection", ["Connections"], ["connections"], "Town hall", "gateway-1"),
        (
            "view_chatsession",
            ["Messages a minute", "Turns in flight", "First words", "Whole answer", "Errors", "Waiting for a person"],
            ["messages", "first-words", "whole-answers", "answers", "errors"],
            "What happened",
            "Who is here",
        ),
        ("view_contactrequest", ["Contact requests"], [], "without a reply", "What happened"),
        ("view_hubclient", ["Mailboxes waiting"], [], "3 letters", "Who is here"),
        ("view_worker", ["Workers"], [], "gateway-1", "Town hall"),
    ],
)
def test_a_part_is_shown_to_those_who_may_view_its_rows(
    house: UUID, permission: str, names: list[str], charts: list[str], shown: str, hidden: str
) -> None:
    page = staff(permission).get("/admin/dashboard/").content.decode()
    assert list(tiles(page)) == names
    assert re.findall(r'id="chart-(\S+)"', page) == charts
    assert shown in page
    assert hidden not in page
    assert "Nothing here" not in page


def test_tiles_lead_where_one_may_go(house: UUID) -> None:
    client = staff(
        "view_connection", "view_worker", "view_contactrequest", "view_chatsession", "answer_session", "view_message"
    )
    page = client.get("/admin/dashboard/").content.decode().replace("&amp;", "&")
    links = {link for link in re.findall(r'href="(/admin/[^"]+)"', page) if "span=" not in link}
    assert f"/admin/connections/connection/?worker={house}" in links
    assert "/admin/desk/?which=waiting" in links
    assert "/admin/conversations/contactrequest/?state__in=received%2Cnotified" in links
    assert {client.get(link).status_code for link in links} == {200}
    listed = client.get("/admin/conversations/contactrequest/?state__in=received%2Cnotified").context["cl"]
    assert [request.state for request in listed.result_list] == ["notified"]


def test_the_dashboard_is_for_staff(client: Client) -> None:
    for path in ("/admin/", "/admin/dashboard/"):
        assert client.get(path).headers["Location"].startswith("/admin/login/")


def test_many_who_look_at_once_are_told_the_same(house: UUID) -> None:
    first = read_status()
    Connection.objects.all().delete()
    assert read_status() == first
    cache.clear()
    assert read_status().connections == 0


# --- On a terminal ---------------------------------------------------------------------------------


def printed(*arguments: str) -> str:
    output = StringIO()
    call_command("gateway_status", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_prints_the_same(house: UUID) -> None:
    lines = printed().splitlines()
    for line in (
        "Connections                  2",
        "  by wire                    1  Blog contact",
        "  by pipeline                1  No pipeline",
        "                             1  Town hall",
        "Messages a minute           50  3 so far in this one",
        "First words             175 ms  p50, 198 ms p95 of 8 in 5 minutes",
        "Errors                       6  in the last hour",
        "Mailboxes waiting            1  3 letters",
    ):
        assert line in lines
    assert re.fullmatch(r"gateway-1:41 +live +[\d: -]{19} +7 +2", lines[-1])
    assert not any(line != line.rstrip() or len(line) > 80 for line in lines)


def test_the_command_says_that_nothing_is_there() -> None:
    assert "First words                  -  no answer in 5 minutes" in printed()
    assert printed().endswith("No worker runs.\n")


def test_the_command_prints_json(house: UUID) -> None:
    told = json.loads(printed("--json"))
    assert (told["connections"], told["work"]["running_turns"], told["mailboxes"]["letters"]) == (2, 1, 3)
    assert told["workers"][0]["worker"]["uuid"] == str(house)
    assert told["first_words"]["p50"] == make_status().first_words.p50
