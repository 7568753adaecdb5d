"""What every fault test may ask for, and the note of a promise whose test failed."""

from collections.abc import Generator
from typing import Any, Protocol

import pytest

from tests.faults.measuring import Place, note


class Measured(Protocol):
    """Notes a figure for docs/reliability.md: what was measured, and whether it is what was promised."""

    def __call__(self, promise: str, *, on: Place, figure: str, holds: bool = True) -> None: ...


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """A function that notes a figure of this test."""

    def measured(promise: str, *, on: Place, figure: str, holds: bool = True) -> None:
        note(promise, on=on, figure=figure, holds=holds, test=request.node.nodeid)

    return measured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Note that a promise's test failed: a table without its row would look better than the truth."""
    report = yield
    marker = item.get_closest_marker("promise")
    if report.failed and marker is not None:
        for promise in marker.args:
            note(promise, on="", figure=f"the test failed ({call.when})", holds=False, test=item.nodeid)
    return report
