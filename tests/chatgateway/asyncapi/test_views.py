"""The AsyncAPI document over HTTP."""

import httpx2
import yaml

from tests.conftest import Serve
from tests.support.environment import ROOT


def test_everybody_gets_the_document_as_yaml_or_json(serve: Serve) -> None:
    with (
        serve(ACCESS_MODE="token") as gateway,
        httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
    ):
        served = client.get("/api/asyncapi/")
        assert (served.status_code, served.headers["Content-Type"]) == (200, "application/yaml; charset=utf-8")
        assert served.text == (ROOT / "docs" / "asyncapi.yaml").read_text("utf-8")
        shown = client.get("/api/asyncapi/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (shown.text, shown.headers["Content-Type"]) == (served.text, "text/plain; charset=utf-8")
        assert shown.headers["Content-Disposition"] == 'inline; filename="asyncapi.yaml"'
        other = client.get("/api/asyncapi/", params={"format": "json"})
        assert (other.status_code, other.headers["Content-Type"]) == (200, "application/json")
        assert other.json() == yaml.safe_load(served.text)
        assert client.get("/api/asyncapi/", params={"format": "xml"}).status_code == 400
        assert client.post("/api/asyncapi/").status_code == 405
