"""Every wire says what it can do."""

from integrations.capabilities import CAPABILITIES, Capabilities
from tests.support.environment import ROOT


def test_every_wire_has_a_row_and_every_row_a_wire() -> None:
    wires = {protocol.parent.name for protocol in (ROOT / "integrations").glob("*/protocol.py")}
    assert set(CAPABILITIES) == wires


def test_the_pipeline_wire_takes_nothing_back() -> None:
    assert CAPABILITIES["langbot"] == Capabilities(
        stream=True, resume=True, push=True, groups=True, broadcast=True, files=True
    )
