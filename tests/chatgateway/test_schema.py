"""The API's schema tells of every call, and is served with nothing from elsewhere."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import yaml
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import GatewayFactory, Serve
from tests.support.applications import make_application
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.server import GatewayProcess

METHODS = {"get", "post", "put", "patch", "delete"}
# The HTTP paths that are not calls of the API, and why; one that ends with a star stands for all below it.
NOT_CALLS = {
    "/": "the start page",
    "/playground/": "a page",
    "/chat/{pipeline_uuid}": "the page's address without its slash",
    "/chat/{pipeline_uuid}/": "a page",
    "/admin/*": "pages of staff",
    "/api/schema/": "the schema itself",
    "/api/docs/": "the page that shows it",
    "/api/asyncapi/": "the description of the sockets",
    "/chat/{pipeline_uuid}*": "the web chat",
    "/^chat/": "what is not there below /chat, in 易事厅's words",
}
# What is answered as it is, and not in the envelope.
BARE = {"get_widget", "get_file", "get_thumbnail"}
# The others have envelopes of their own, which their wire's document prescribes.
ENVELOPED = "/api/"
FAILURE = {"$ref": "#/components/schemas/Failure"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema, checked against OpenAPI's own; a warning of the generator fails."""
    out = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    schema: dict[str, Any] = yaml.safe_load(out.getvalue())
    return schema


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that lets nobody in without a token."""
    with serve(ACCESS_MODE="token", RATE_LIMITS="off") as gateway:
        yield gateway


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method in METHODS & methods.keys():
            yield path, method, methods[method]


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


def is_listed(route: str, listed: str) -> bool:
    return route.startswith(listed[:-1]) if listed.endswith("*") else route == listed


def test_every_route_is_in_the_schema_or_has_a_reason(schema: dict[str, Any]) -> None:
    """The sockets are in the AsyncAPI document: tests/chatgateway/asyncapi holds them to it."""
    every = set(routes(get_resolver().url_patterns))
    others = {route for route in every if any(is_listed(route, listed) for listed in NOT_CALLS)}
    assert every - others == schema["paths"].keys()
    assert not [listed for listed in NOT_CALLS if not any(is_listed(route, listed) for route in every)]


def test_every_operation_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(schema)]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("v1_")], "a name that nobody chose"


def test_every_part_of_a_path_has_its_type(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        given = {item["name"]: item for item in operation.get("parameters", ()) if item["in"] == "path"}
        assert given.keys() == set(re.findall(r"{(\w+)}", path)), (path, method)
        for name, item in given.items():
            if name.endswith("_uuid"):
                assert item["schema"] == {"type": "string", "format": "uuid"}
            elif name == "key":
                assert item["schema"] == {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
            else:
                assert set(item["schema"]["enum"]) == {"person", "group"}


def test_every_failure_has_the_one_shape(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        if not path.startswith(ENVELOPED):
            continue
        failures = {status: answer for status, answer in operation["responses"].items() if not status.startswith("2")}
        assert failures.keys() >= {"400", "401", "403", "404", "405", "503"}, (path, method)
        assert {str(answer["content"]["application/json"]["schema"]) for answer in failures.values()} == {str(FAILURE)}
    assert set(schema["components"]["schemas"]["Failure"]["required"]) == {"code", "msg"}


def test_every_answer_has_the_envelope(schema: dict[str, Any]) -> None:
    for path, _, operation in operations(schema):
        if not path.startswith(ENVELOPED) or operation["operationId"] in BARE:
            continue
        (answer,) = (answer for status, answer in operation["responses"].items() if status.startswith("2"))
        name = answer["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        assert set(schema["components"]["schemas"][name]["required"]) == {"code", "msg", "data"}


def test_every_operation_takes_a_bearer_token(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    assert all({"bearer": []} in operation["security"] for _, _, operation in operations(schema))


WRONGS: dict[str, dict[str, Any]] = {
    "nobody we know": {"headers": {"Authorization": "Bearer nobody"}},
    "no right to it": {"headers": {"Authorization": "Bearer {powerless}"}},
    "a page of somebody else": {"headers": {"Origin": "https://evil.example"}},
    "an answer in another format": {"headers": {"Accept": "image/png"}},
    "a body in another format": {"content": b"<a/>", "headers": {"Content-Type": "application/xml"}},
    "a body that is no JSON": {"content": b"{", "headers": {"Content-Type": "application/json"}},
    "a body that is no object": {"content": b"[1]", "headers": {"Content-Type": "application/json"}},
    "a body that is too large": {"content": b" " * 9_000_000, "headers": {"Content-Type": "application/json"}},
    "odd arguments": {
        "params": {"limit": "x", "after": "\x00", "after_seq": "-1", "appid": "\ud7ff", "session_id": "."}
    },
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_whatever_is_wrong_with_a_call_the_schema_knows_its_answer(
    schema: dict[str, Any], guarded: GatewayProcess, wrong: str
) -> None:
    powerless = make_application(guarded, scopes="")
    allowed = {"Authorization": f"Bearer {make_application(guarded, scopes='read,write,broadcast,admin').token}"}
    more = {**WRONGS[wrong], "headers": {**allowed, **WRONGS[wrong].get("headers", {})}}
    more["headers"] = {name: value.format(powerless=powerless.token) for name, value in more["headers"].items()}
    known = {
        "pipeline_uuid": DEFAULT_PIPELINE,
        "session_type": "person",
        "document_uuid": str(uuid4()),
        "key": "x" * 43,
    }
    refused = 0
    with httpx2.Client(base_url=guarded.url, trust_env=False, timeout=30) as client:
        for path, method, operation in operations(schema):
            answer = client.request(method, path.format(**known, trace_uuid=uuid4()), **more)
            responses = operation["responses"]
            assert str(answer.status_code) in responses, f"{method} {path}: {answer.status_code} {answer.text}"
            content_type = answer.headers["Content-Type"].partition(";")[0]
            assert content_type in responses[str(answer.status_code)]["content"], f"{method} {path}: {content_type}"
            refused += answer.is_error
    assert refused


def test_a_method_that_a_path_does_not_take_is_refused_as_the_schema_says(
    schema: dict[str, Any], guarded: GatewayProcess
) -> None:
    known = {"session_type": "person", "key": "x" * 43, "pipeline_uuid": DEFAULT_PIPELINE}
    others = {name: str(uuid4()) for name in ("document_uuid", "trace_uuid")}
    with httpx2.Client(base_url=guarded.url, trust_env=False, timeout=30) as client:
        for path, methods in schema["paths"].items():
            taken = METHODS & methods.keys()
            for method in METHODS - taken:
                answer = client.request(method, path.format(**known, **others))
                if path.startswith("/wechat/"):  # its document prescribes the status
                    assert (answer.status_code, answer.json()["code"]) == (200, 405), (method, path)
                    continue
                assert answer.status_code == 405, (method, path)
                assert set(answer.headers["Allow"].lower().split(", ")) >= taken, (method, path)
                for name in taken:
                    listed = methods[name]["responses"]["405"]
                    if "content" not in listed:
                        assert answer.content == b"", (method, path)
                        continue
                    reference = listed["content"]["application/json"]["schema"]["$ref"]
                    shape = schema["components"]["schemas"][reference.rsplit("/", 1)[1]]
                    assert set(shape["required"]) <= answer.json().keys() <= set(shape["properties"]), (method, path)


def test_the_pages_need_nothing_from_elsewhere(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    with httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        served = client.get("/api/schema/")
        assert served.status_code == 200
        assert yaml.safe_load(served.text)["info"]["title"] == "Chat gateway"
        page = client.get("/api/docs/")
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert {link.rsplit("/", 1)[1] for link in links} >= {"swagger-ui.css", "swagger-ui-bundle.js"}
        for link in links:
            assert link.startswith(("/static/", "/api/docs/?script=")), link
            assert client.get(link).status_code == 200, link
        script = client.get("/api/docs/", params={"script": ""})
        assert script.headers["Content-Type"].startswith("application/javascript")
        assert 'url: "/api/schema/"' in script.text
