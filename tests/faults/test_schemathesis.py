"""Schemathesis against the API's schema on a running server: what it answers is what the schema says."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.support.applications import change, make_application
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient
from tests.support.environment import QUICK
from tests.support.files import picture
from tests.support.server import GatewayProcess
from tests.support.yishiting import question

EXAMPLES = at_length(2, 150)  # of each call, beside those that schemathesis derives from the schema one by one
SEED = 5
PATIENCE = at_length(100, 1_500)
DOCUMENTS = 60
# Most calls name what there is, or they would not get past their first look. NUL is refused everywhere, which JSON
# Schema cannot say, nor that one argument needs another, nor what is in a document. WeChat's status is always 200.
CONFIG = """
seed = {seed}
continue-on-failure = true

[generation]
allow-x00 = false
database = "none"

[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_headers_conformance.enabled = true
response_schema_conformance.enabled = true
positive_data_acceptance.enabled = true
unsupported_method.enabled = true

[warnings]
fail-on = ["missing_auth", "missing_test_data", "validation_mismatch"]

[dictionaries]
pipeline = {{ values = ["{pipeline}"] }}
documents = {{ values = {documents} }}
traces = {{ values = ["{trace}"] }}
appid = {{ values = ["{appid}"] }}
secret = {{ values = ["{secret}"] }}
keys = {{ values = ["{picture}"] }}
answer = {{ values = [{answer}] }}

[parameters]
"path.pipeline_uuid" = {{ dictionary = "pipeline", probability = 0.9 }}
"path.document_uuid" = {{ dictionary = "documents", probability = 0.9 }}
"path.trace_uuid" = {{ dictionary = "traces", probability = 0.8 }}
"path.key" = {{ dictionary = "keys", probability = 0.8 }}
"body.message_id" = {{ dictionary = "answer", probability = 0.95 }}
"query.appid" = {{ dictionary = "appid", probability = 0.9 }}
"query.secret" = {{ dictionary = "secret", probability = 0.9 }}
"body.appid" = {{ dictionary = "appid", probability = 0.9 }}
"body.secret" = {{ dictionary = "secret", probability = 0.9 }}

[[operations]]
include-operation-id = "list_messages"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-operation-id = "upload_document"
warnings = false
checks.positive_data_acceptance.enabled = false

[[operations]]
include-operation-id = "give_feedback"
parameters = {{ pipeline_uuid = "{pipeline}", session_type = "person", session_id = "{session}" }}

[[operations]]
include-path-regex = "^/wechat/"
checks.unsupported_method.enabled = false
"""


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("access", ["open", "token"])
def test_every_answer_is_what_the_schema_says(
    start_gateway: GatewayFactory, measured: Measured, tmp_path: Path, access: str
) -> None:
    gateway = start_gateway(environment={**QUICK, "RATE_LIMITS": "off", "ACCESS_MODE": access})
    application = make_application(gateway, scopes="read,write,broadcast,admin")
    change(gateway, "UPDATE conversations_pipeline SET public = 1")  # the widget shows no other
    authorization = f"Bearer {application.token}"
    with httpx2.Client(base_url=gateway.url, trust_env=False, headers={"Authorization": authorization}) as client:
        documents = [_document(client, number) for number in range(DOCUMENTS)]
        kept = client.post("/api/v1/files/images", files={"file": picture()}).json()["data"]["file_key"]
        session, answer = asyncio.run(_answered(gateway, application.token))
        trace = client.post("/chat/async", json=question()).json()["third_party_trace_id"]
    (tmp_path / "schemathesis.toml").write_text(
        CONFIG.format(
            seed=SEED,
            pipeline=DEFAULT_PIPELINE,
            documents=documents,
            trace=trace,
            appid=application.appid,
            secret=application.secret,
            picture=kept,
            session=session,
            answer=answer,
        )
    )
    command = ("run", f"{gateway.url}/api/schema/", "--phases", "coverage,fuzzing", "--no-color")
    options = ("--max-examples", str(EXAMPLES), "--header", f"Authorization:{authorization}")
    done = subprocess.run(
        [Path(sys.executable).with_name("st"), *command, *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    cases, operations = re.search(r"(\d+) generated", done.stdout), re.search(r"Tested: (\d+)", done.stdout)
    assert cases
    assert operations
    figure = (
        f"{access} access: {int(cases[1]):,} calls of {operations[1]} operations, all as the schema says (seed {SEED})"
    )
    measured("schemathesis", on="SQLite", figure=figure)


async def _answered(gateway: GatewayProcess, token: str) -> tuple[str, int]:
    """Return a session, and an answer in it."""
    async with await PipelineClient.connect(gateway, token=token) as client:
        return client.session_id, (await client.ask("How do I load documents?"))[-1]["data"]["id"]


def _document(client: httpx2.Client, number: int) -> str:
    body = {"title": f"Document {number}", "text": "Text"}
    answer = client.post(f"/api/v1/pipelines/{DEFAULT_PIPELINE}/documents", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["uuid"])
