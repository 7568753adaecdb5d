"""Documents over REST: through the real views and the real database, and once from a real server to an answer."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from asgiref.sync import sync_to_async
from pytest_django import Settings

from chatgateway.api import serializers, urls
from chatgateway.handler import WireHandler
from chatgateway.routing import Gateway
from connections.auth import Scope
from connections.services import create_application, issue_token
from conversations.models import Document, Pipeline
from conversations.services import save_document
from tests.conftest import GatewayFactory
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, answer

pytestmark = pytest.mark.django_db(transaction=True)

HOURS = {"title": "Opening hours", "text": "# Opening hours\n\nFrom 9 to 17.\n"}
Answer = tuple[int, Any]


class Api:
    """The calls of one pipeline's documents; each gives status and body."""

    def __init__(self, pipeline: UUID | str, token: str = "") -> None:
        self._base = f"http://localhost/api/v1/pipelines/{pipeline}/documents"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def __call__(self, method: str, path: object = "", body: Any = None, **query: Any) -> Answer:
        content = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        handler: Any = WireHandler()  # its stub takes a narrower scope than a client gives
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(handler), headers=self._headers) as client:
            response = await client.request(
                method,
                f"{self._base}{f'/{path}' if path else ''}",
                params=query,
                content=None if body is None else content,
                headers={"Content-Type": "application/json"},
            )
        return response.status_code, response.json()


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Callable[[str], Any]]:
    """A function that makes the paths those of a new gateway in an access mode."""
    started: list[Gateway] = []

    def start(mode: str) -> None:
        settings.ACCESS_MODE = mode
        started.append(Gateway())
        settings.ROOT_URLCONF = tuple(urls.urlpatterns(started[-1].parts))

    yield start
    for gateway in started:
        await gateway.stop()


@pytest.fixture
def pipeline() -> UUID:
    return Pipeline.objects.create(name="Shop").uuid


@pytest.fixture
def api(start: Callable[[str], None], pipeline: UUID) -> Api:
    start("open")
    return Api(pipeline)


def data(answer: Answer, status: int = 200) -> Any:
    """Return what a call that worked answered."""
    assert answer[0] == status, answer
    assert (answer[1]["code"], answer[1]["msg"]) == (0, "ok")
    return answer[1]["data"]


def refused(answer: Answer) -> tuple[int, str]:
    """Return status and words of a call that did not."""
    assert answer[1].keys() == {"code", "msg"}, answer
    assert answer[1]["code"] == -1
    return answer[0], answer[1]["msg"]


async def test_a_document_from_its_creation_to_its_deletion(api: Api) -> None:
    created = data(await api("POST", body=HOURS), status=201)
    assert {name: created[name] for name in ("title", "text", "space", "url")} == {
        **HOURS, "space": "default", "url": "",
    }  # fmt: skip
    assert created["created_at"].endswith("+00:00")
    assert data(await api("GET", created["uuid"])) == created

    changed = {"title": "Hours", "text": "From 8.", "space": "shop", "url": "https://a.test/hours"}
    replaced = data(await api("PUT", created["uuid"], changed))
    assert {name: replaced[name] for name in changed} == changed
    assert (replaced["uuid"], replaced["created_at"]) == (created["uuid"], created["created_at"])
    assert data(await api("GET", created["uuid"])) == replaced

    assert data(await api("DELETE", created["uuid"])) == {"message": "Document deleted successfully"}
    for method, body in (("GET", None), ("PUT", changed), ("DELETE", None)):
        assert refused(await api(method, created["uuid"], body)) == (404, "Document not found")


async def test_the_list_comes_in_pages_without_the_texts(api: Api, pipeline: UUID) -> None:
    uuids = sorted([str(await sync_to_async(save_document)(pipeline, title=str(n), text="x")) for n in range(5)])
    first = data(await api("GET", limit=2))
    assert first["documents"][0].keys() == {"uuid", "title", "space", "url", "created_at", "updated_at"}
    seen = [row["uuid"] for row in first["documents"]]
    following = first["next"]
    # The page's last one may go while the client reads.
    await api("DELETE", following)
    while following is not None:
        page = data(await api("GET", limit=2, after=following))
        seen += [row["uuid"] for row in page["documents"]]
        following = page["next"]
    assert seen == uuids
    assert data(await api("GET", limit=4))["next"] is None


async def test_a_document_elsewhere_looks_like_one_that_is_nowhere(api: Api) -> None:
    other = await Pipeline.objects.acreate(name="Other")
    elsewhere = await sync_to_async(save_document)(other.uuid, title="Theirs", text="x")
    body = {**HOURS, "space": "default"}
    for method, given in (("GET", None), ("PUT", body), ("DELETE", None)):
        for uuid in (elsewhere, uuid4(), "nonsense"):
            assert refused(await api(method, uuid, given)) == (404, "Document not found")
    assert data(await api("GET"))["documents"] == []
    assert (await Document.objects.aget()).title == "Theirs"


@pytest.mark.parametrize("uuid", [uuid4(), "nonsense"])
async def test_an_unknown_pipeline(api: Api, uuid: object) -> None:
    assert refused(await Api(str(uuid))("GET")) == (404, "Pipeline not found")
    assert refused(await Api(str(uuid))("POST", body=HOURS)) == (404, "Pipeline not found")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "Invalid JSON format"),
        ('{"title": "a", "title": "b", "text": "x"}', "Invalid JSON format"),
        ('{"title": "a", "text": "\\u0000"}', "Invalid JSON format"),
        ([], "Invalid data"),
        ({"text": "x"}, "title: This field is required."),
        ({"title": "x"}, "text: This field is required."),
        ({**HOURS, "text": " \n"}, "The document cannot be taken: it is empty."),
        ({**HOURS, "title": "x" * 301}, "title: "),
        ({**HOURS, "space": ""}, "space: "),
        ({**HOURS, "space": "x" * 101}, "space: "),
        ({**HOURS, "url": "x" * 1001}, "url: "),
        ({**HOURS, "text": "字" * (serializers.MAX_TEXT_BYTES // 3 + 1)}, "text: must have at most 1 MiB"),
    ],
)
async def test_a_body_that_cannot_be_taken_says_why(api: Api, body: Any, words: str) -> None:
    status, said = refused(await api("POST", body=body))
    assert status == 400
    assert said.startswith(words)
    assert not await Document.objects.aexists()


async def test_the_longest_text_is_taken_also_escaped(api: Api) -> None:
    text = "字" * (serializers.MAX_TEXT_BYTES // 3)
    assert data(await api("POST", body=json.dumps({"title": "Long", "text": text})), status=201)["text"] == text


async def test_a_body_beyond_any_document_is_not_read(api: Api) -> None:
    body = json.dumps({**HOURS, "more": "x" * (4 * serializers.MAX_TEXT_BYTES)})
    assert refused(await api("POST", body=body)) == (413, "The request body is too large")


async def test_put_takes_the_whole_document(api: Api) -> None:
    created = data(await api("POST", body={**HOURS, "space": "shop"}), status=201)
    # Without its space it would leave it by oversight.
    assert refused(await api("PUT", created["uuid"], HOURS)) == (400, "space: This field is required.")
    assert data(await api("GET", created["uuid"])) == created


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"after": "x"}], ids=str)
async def test_a_page_that_is_none(api: Api, query: dict[str, object]) -> None:
    status, said = refused(await api("GET", **query))
    assert (status, said.split(":")[0]) == (400, next(iter(query)))


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS"])
async def test_a_method_that_is_none(api: Api, method: str) -> None:
    assert refused(await api(method, body={})) == (405, f'Method "{method}" not allowed.')


async def tokens(pipeline: UUID | None, *scopes: Scope) -> str:
    application, _ = await sync_to_async(create_application)("shop", pipeline=pipeline)
    return (await sync_to_async(issue_token)(application, scopes))[1]


async def test_in_token_mode_only_admin_scope_opens_it(start: Callable[[str], None], pipeline: UUID) -> None:
    uuid = await sync_to_async(save_document)(pipeline, title="Hours", text="x")
    start("token")
    body = {**HOURS, "space": "default"}
    weak = await tokens(None, Scope.READ, Scope.WRITE, Scope.BROADCAST)
    calls = (("GET", "", None), ("POST", "", HOURS), ("GET", uuid, None), ("PUT", uuid, body), ("DELETE", uuid, None))
    for method, path, given in calls:
        assert refused(await Api(pipeline)(method, path, given)) == (401, "No valid user token provided")
        assert refused(await Api(pipeline, "wrong")(method, path, given)) == (401, "No valid user token provided")
        assert refused(await Api(pipeline, weak)(method, path, given)) == (403, "Forbidden")
    strong = Api(pipeline, await tokens(None, Scope.ADMIN))
    assert [row["uuid"] for row in data(await strong("GET"))["documents"]] == [str(uuid)]
    data(await strong("DELETE", uuid))


async def test_a_token_of_another_pipeline_finds_nothing(start: Callable[[str], None], pipeline: UUID) -> None:
    other = await Pipeline.objects.acreate(name="Other")
    start("token")
    token = await tokens(other.uuid, Scope.ADMIN)
    assert refused(await Api(pipeline, token)("GET")) == (404, "Pipeline not found")
    assert data(await Api(other.uuid, token)("GET"))["documents"] == []


async def test_what_is_added_is_answered_from_and_what_is_deleted_is_not(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    base = f"{gateway.url}/api/v1/pipelines/{DEFAULT_PIPELINE}/documents"
    question = "How long is the zeppelin warranty?"
    async with httpx2.AsyncClient(trust_env=False) as http, await PipelineClient.connect(gateway) as client:
        added = await http.post(base, json={"title": "Zeppelin warranty", "text": "The zeppelin warranty is 7 years."})
        assert added.status_code == 201
        assert "7 years" in await until(client, question, lambda text: "7 years" in text)
        deleted = await http.delete(f"{base}/{added.json()['data']['uuid']}")
        assert deleted.status_code == 200
        assert "7 years" not in await until(client, question, lambda text: "7 years" not in text)


async def until(client: PipelineClient, question: str, fits: Callable[[str], bool]) -> str:
    """Ask until the answer fits, as the index follows about a second later; return the last answer."""
    text = answer(await client.ask(question))
    for _ in range(2000):
        if fits(text):
            break
        text = answer(await client.ask(question))
    return text
