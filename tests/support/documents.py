"""The programs in the documents, cut out as they stand and aimed at a gateway of ours."""

import re
import textwrap
from collections.abc import Mapping

import pytest

from tests.support.environment import ROOT
from tests.support.server import GatewayProcess

FOLDER = ROOT.parent / "shared" / "documents"
_FENCED = re.compile(r"^( *)```(\w*)[ \t]*\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"(ws|http)s?://[\w.-]+(?::\d+)?")


def document(number: str) -> str:
    """Return the document whose name begins with `number`; skip the test where the documents are not."""
    found = sorted(FOLDER.glob(f"{number}_*.txt"))
    if not found:
        pytest.skip(f"the documents are not in {FOLDER}")
    return found[0].read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language ("" for those that name none), without their indentation."""
    return [textwrap.dedent(code) for _, named, code in _FENCED.findall(text) if named == language]


def program(number: str, language: str, *contains: str) -> str:
    """Return the one code block of a document in `language` that contains every text of `contains`."""
    fitting = [code for code in blocks(document(number), language) if all(part in code for part in contains)]
    assert len(fitting) == 1, f"{len(fitting)} blocks of document {number} contain {contains}"
    return fitting[0]


def aimed(code: str, gateway: GatewayProcess | str, placeholders: Mapping[str, str] | None = None) -> str:
    """Return a program with `host:port` of a gateway in its addresses, and with its printed placeholders filled in.

    Nothing else of it is changed, and TLS is taken away: the gateway under test speaks none.
    """
    host = gateway if isinstance(gateway, str) else f"127.0.0.1:{gateway.port}"
    code = _ADDRESS.sub(rf"\1://{host}", code)
    for printed, value in (placeholders or {}).items():
        assert printed in code, f"the program has no {printed}"
        code = code.replace(printed, value)
    return code
