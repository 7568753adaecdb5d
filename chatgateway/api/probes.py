"""The places of the probes in the API's schema: they are plain views, which its generator does not see."""

from typing import Any

JSON, TEXT = "application/json", "text/plain"
_REFUSED = {"401": "A token is needed", "403": "The scope admin is needed", "503": "The database is away"}


def add_probes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the schema with the probes in it (a hook of drf-spectacular)."""
    state = {"type": "object", "properties": {"status": {"type": "string"}, "database": {"type": "string"}}}
    metrics = {
        "200": _answer("Numbers in Prometheus' format", TEXT, {"type": "string"}),
        **{code: _answer(words, TEXT, {"type": "string"}) for code, words in _REFUSED.items()},
    }
    result["paths"] |= {
        "/healthz": _get("healthz", "Does the process answer?", {"200": _answer("It does", JSON, state)}),
        "/readyz": _get(
            "readyz",
            "Can questions be taken?",
            {"200": _answer("They can", JSON, state), "503": _answer("The database cannot be written", JSON, state)},
        ),
        "/metrics": _get("metrics", "What was counted and is measured", metrics),
    }
    result["paths"] = dict(sorted(result["paths"].items()))
    return result


def _get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    security: list[dict[str, list[str]]] = [{"bearer": []}, {}]
    operation = {"operationId": name, "summary": summary, "tags": ["probes"], "security": security}
    not_allowed = {"description": "Method Not Allowed"}  # with an empty body
    return {"get": {**operation, "responses": {**responses, "405": not_allowed}}}


def _answer(description: str, content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {content_type: {"schema": schema}}}
