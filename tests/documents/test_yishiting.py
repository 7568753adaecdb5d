"""Document 002's two curl commands, unmodified."""

import json
import re
from pathlib import Path

from tests.support.documents import aimed, program
from tests.support.programs import shell
from tests.support.server import GatewayProcess


def test_curl_reads_the_stream(gateway: GatewayProcess, tmp_path: Path) -> None:
    with shell(aimed(program("002", "bash", "/chat "), gateway), folder=tmp_path) as curl:
        printed = curl.finished()
    events = [json.loads(line) for line in re.findall(r"event:delta\ndata:(.+)\n\n", printed)]
    assert "".join(f"event:delta\ndata:{line}\n\n" for line in re.findall(r"data:(.+)", printed)) == printed
    assert "".join(event["response"] for event in events).strip()
    assert [event["finished"] for event in events] == [False] * (len(events) - 1) + [True]
    assert all(set(event) == {"response", "finished", "global_output"} for event in events)
    assert all({"answer_success", "docs"} <= set(event["global_output"]) for event in events)


def test_curl_reads_the_whole_answer(gateway: GatewayProcess, tmp_path: Path) -> None:
    with shell(aimed(program("002", "bash", "/chat/sync"), gateway), folder=tmp_path) as curl:
        printed = curl.finished()
    answer = json.loads(printed)
    assert (answer["code"], answer["err_msg"], answer["is_async_response"]) == (0, "", False)
    assert answer["msg_type"] == "text"
    assert answer["msg_content"]
    assert answer["third_party_trace_id"]
    assert answer["is_recall_success"] == int(bool(answer["recall_docs"]))
