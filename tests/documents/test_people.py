"""The same conversations with clients of our own: what the documents' programs are told, everybody is."""

import pytest

from tests.documents.people import WIRES
from tests.support.server import GatewayProcess


@pytest.mark.parametrize("wire", WIRES)
async def test_a_question_is_answered_from_the_documents_on_every_wire(gateway: GatewayProcess, wire: str) -> None:
    answer = await WIRES[wire](f"127.0.0.1:{gateway.port}", "怎么接入大语言模型？")
    assert "OPENAI_BASE_URL" in answer
