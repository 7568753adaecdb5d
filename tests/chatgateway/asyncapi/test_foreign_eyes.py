"""What AsyncAPI's own tools say of the document."""

from pathlib import Path

from tests.support.environment import ROOT
from tests.support.node import node


def test_asyncapi_s_parser_finds_nothing_wrong(tmp_path: Path) -> None:
    with node("asyncapi.js", ROOT / "docs" / "asyncapi.yaml", folder=tmp_path) as program:
        assert program.until("read\n") == "read\n"


def test_it_would_find_what_is_wrong(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "asyncapi.yaml").read_text("utf-8")
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace("action: receive", "action: take", 1), "utf-8")
    with node("asyncapi.js", broken, folder=tmp_path) as program:
        assert "pipeline.receive/action" in program.until("read\n")
