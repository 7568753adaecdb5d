"""The token service over plain HTTP."""

import json
import os
import statistics
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import GatewayFactory
from tests.integrations.postoffice.conftest import Credentials, create_application
from tests.support.applications import change, make_application
from tests.support.server import GatewayProcess

WRONG = {"error": "invalid appid or secret"}
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def fetch(
    gateway: GatewayProcess, query: str = "", body: bytes | None = None, kind: str = JSON, path: str = "/wecom/token"
) -> tuple[int, Any, Any]:
    """Call the token service and return status, JSON and headers."""
    request = urllib.request.Request(f"{gateway.url}{path}{query}", data=body)  # noqa: S310  an address of ours
    if body is not None:
        request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request, timeout=15) as response:  # noqa: S310
            return response.status, json.loads(response.read()), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), error.headers


def processor_seconds(gateway: GatewayProcess) -> float:
    """Return what a gateway has computed so far, however busy the machine is."""
    fields = Path(f"/proc/{gateway.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("way", ["query", "json", "form", "query of a post"])
def test_a_token_is_given_for_a_secret(guarded: GatewayProcess, application: Credentials, way: str) -> None:
    pair = dict(zip(("appid", "secret"), application, strict=True))
    ways: dict[str, tuple[Any, ...]] = {
        "query": (f"?{urlencode(pair)}",),
        "json": ("", json.dumps(pair).encode()),
        "form": ("", urlencode(pair).encode(), FORM),
        "query of a post": (f"?{urlencode(pair)}", b"", FORM),
    }
    status, answer, headers = fetch(guarded, *ways[way])
    assert (status, list(answer)) == (200, ["expires", "token", "ttl"])
    assert headers["Cache-Control"] == "no-store"
    month = 30 * 24 * 3600
    assert month - 60 < answer["ttl"] <= month
    assert abs(answer["expires"] - (time.time() + month) * 1000) < 60_000


def test_a_wrong_pair_is_401_whether_the_appid_exists(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"ACCESS_MODE": "token", "RATE_LIMITS": "off"})
    appid, _ = create_application(gateway)
    times: dict[str, list[float]] = {"unknown": [], appid: []}
    for _ in range(4):
        for one, taken in times.items():
            begun = processor_seconds(gateway)
            status, answer, headers = fetch(gateway, f"?appid={one}&secret=wrong")
            taken.append(processor_seconds(gateway) - begun)
            assert (status, answer, headers["Cache-Control"]) == (401, WRONG, "no-store")
    unknown, known = (statistics.median(taken[1:]) for taken in times.values())
    assert 0.5 < unknown / known < 2
    assert "wrong" not in gateway.log()


@pytest.mark.parametrize(
    ("query", "body", "kind", "status"),
    [
        ("", None, JSON, 401),
        ("?appid=a%00b&secret=x", None, JSON, 401),
        (f"?appid={'x' * 500}&secret=x", None, JSON, 401),
        ("", b"[1]", JSON, 401),
        ("", b'{"appid": 5}', JSON, 401),
        ("", b"{", JSON, 400),
        ("", b"x", "text/plain", 415),
    ],
)
def test_nonsense_is_refused_in_the_same_shape(
    gateway: GatewayProcess, query: str, body: bytes | None, kind: str, status: int
) -> None:
    answered, answer, _ = fetch(gateway, query, body, kind)
    assert (answered, list(answer)) == (status, ["error"])


def test_attempts_are_limited(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"ACCESS_MODE": "token"})
    made = make_application(gateway)
    # Right ones count as wrong ones do, and cost no hashing.
    secrets = ["wrong", *[made.secret] * 30]
    answers = [fetch(gateway, f"?appid={made.appid}&secret={secret}") for secret in secrets]
    assert [status for status, _, _ in answers] == [401] + [200] * 29 + [429]
    assert int(answers[-1][2]["Retry-After"]) > 0


def test_an_application_that_is_switched_off_gets_none(guarded: GatewayProcess) -> None:
    made = make_application(guarded)
    change(guarded, "UPDATE connections_application SET enabled = 0 WHERE appid = ?", made.appid)
    assert fetch(guarded, f"?appid={made.appid}&secret={made.secret}")[:2] == (401, WRONG)
