"""Which calls to models are made, and what is told of those that failed."""

import pytest
import structlog

from conversations.responders.base import Busy
from conversations.responders.calls import Calls, Failure, ModelError


def fail(calls: Calls, failure: Failure, times: int = 1, model: str = "m1") -> None:
    for _ in range(times):
        with pytest.raises(ModelError), calls.call(model):
            raise ModelError("it failed", failure)


@pytest.mark.parametrize(
    ("failure", "resting"),
    [
        (Failure.UNREACHABLE, 1),
        (Failure.LIMITED, 1),
        (Failure.ERROR, 1),
        (Failure.SILENT, 1),
        (Failure.STALLED, 1),
        (Failure.BROKEN_OFF, 1),
        (Failure.GARBAGE, 1),
        (Failure.MISCONFIGURED, 0),
        (Failure.REJECTED, 0),
        (Failure.REPORTED, 0),
        (Failure.EMPTY, 0),
        (Failure.ENDLESS, 0),
    ],
)
def test_a_model_is_left_alone_for_its_own_failures_only(failure: Failure, resting: int) -> None:
    calls = Calls(failures=5)
    fail(calls, failure, times=5)
    assert calls.resting == resting


def test_who_leaves_says_nothing_of_the_model() -> None:
    calls = Calls(failures=1)
    with pytest.raises(RuntimeError), calls.call("m1"):
        raise RuntimeError
    assert (calls.resting, calls.in_flight) == (0, 0)


def test_each_model_is_judged_alone() -> None:
    calls = Calls(failures=2)
    fail(calls, Failure.ERROR, times=2, model="m1")
    with calls.call("m2"):
        assert calls.in_flight == 1
    with pytest.raises(ModelError, match="m1 failed too often"), calls.call("m1"):
        raise AssertionError


def test_what_changes_is_logged_and_counted() -> None:
    failures: list[str] = []
    switches: list[str] = []
    calls = Calls(failures=2, rest=0, on_failure=failures.append, on_switch=switches.append)
    with structlog.testing.capture_logs() as logs:
        fail(calls, Failure.ERROR, times=2)
        with calls.call("m1"):
            pass
    assert failures == ["error", "error"]
    assert switches == ["opened", "closed"]
    assert [(entry["event"], entry["model"]) for entry in logs] == [("model.resting", "m1"), ("model.recovered", "m1")]


def test_a_refusal_is_counted_too() -> None:
    failures: list[str] = []
    calls = Calls(at_once=1, failures=1, on_failure=failures.append)
    with calls.call("m1"), pytest.raises(Busy), calls.call("m2"):
        raise AssertionError
    fail(calls, Failure.STALLED)
    with pytest.raises(ModelError) as refused, calls.call("m1"):
        raise AssertionError
    assert refused.value.failure is Failure.RESTING
    assert failures == ["busy", "stalled", "resting"]
