"""The API's schema tells of every call, and is served with nothing from elsewhere."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx2
import pytest
import yaml
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import GatewayFactory

METHODS = {"get", "post", "put", "patch", "delete"}
# Pages, and what machines ask: not calls of the API; and below /chat what is not there.
NOT_CALLS = ("/admin/", "/healthz", "/readyz", "/api/schema/", "/api/docs/", "/^chat/")
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


def test_every_route_is_in_the_schema(schema: dict[str, Any]) -> None:
    calls = {route for route in routes(get_resolver().url_patterns) if not route.startswith(NOT_CALLS)}
    assert calls == schema["paths"].keys()


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
            else:
                assert set(item["schema"]["enum"]) == {"person", "group"}


def test_every_failure_has_the_one_shape(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        if not path.startswith(ENVELOPED):
            continue
        failures = {status: answer for status, answer in operation["responses"].items() if not status.startswith("2")}
        assert failures.keys() >= {"400", "401", "403", "404", "503"}, (path, method)
        assert {str(answer["content"]["application/json"]["schema"]) for answer in failures.values()} == {str(FAILURE)}
    assert set(schema["components"]["schemas"]["Failure"]["required"]) == {"code", "msg"}


def test_every_answer_has_the_envelope(schema: dict[str, Any]) -> None:
    for path, _, operation in operations(schema):
        if not path.startswith(ENVELOPED):
            continue
        (answer,) = (answer for status, answer in operation["responses"].items() if status.startswith("2"))
        name = answer["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        assert set(schema["components"]["schemas"][name]["required"]) == {"code", "msg", "data"}


def test_every_operation_takes_a_bearer_token(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    assert all({"bearer": []} in operation["security"] for _, _, operation in operations(schema))


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
            assert link.startswith("/static/"), link
            assert client.get(link).status_code == 200, link
        assert 'url: "/api/schema/"' in page.text
