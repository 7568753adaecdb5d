"""What does not fit a type, as a value that each wire puts into its own words."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from integrations.fields import NOT_BLANK, Misfit, fit, misfits


class Frame(msgspec.Struct, frozen=True, tag_field="type", tag="frame", rename={"user_agent": "userAgent"}):
    """A frame."""

    message: Annotated[str, msgspec.Meta(max_length=5, pattern=NOT_BLANK)]
    user_agent: str | int = ""
    kind: Literal["a", "b"] = "a"
    last_seq: Annotated[int, msgspec.Meta(ge=0)] = 0


def misfit(**members: Any) -> Misfit:
    with pytest.raises(Misfit) as refused:
        fit(members, Frame)
    return refused.value


def test_what_fits_is_the_type() -> None:
    assert fit({"type": "frame", "message": "x", "userAgent": 1, "more": []}, Frame) == Frame("x", 1)


def test_a_null_is_as_good_as_nothing_where_the_wire_says_so() -> None:
    assert fit({"message": "x", "userAgent": None}, Frame, null_is_missing=True) == Frame("x")
    assert misfit(message="x", userAgent=None).kinds == ("int", "str")
    with pytest.raises(Misfit) as refused:
        fit({"message": None, "userAgent": None}, Frame, null_is_missing=True)
    assert refused.value.is_missing


@pytest.mark.parametrize(
    ("members", "field", "kinds", "longest", "empty"),
    [
        ({}, "message", (), None, True),
        ({"message": None}, "message", ("str",), None, True),
        ({"message": ""}, "message", (), None, True),
        ({"message": " \x1f\x85"}, "message", (), None, True),
        ({"message": 5}, "message", ("str",), None, False),
        ({"message": "123456"}, "message", (), 5, False),
        ({"message": "x", "userAgent": True}, "userAgent", ("int", "str"), None, False),
        ({"message": "x", "last_seq": ""}, "last_seq", ("int",), None, False),
        ({"message": "x", "last_seq": -1}, "last_seq", (), None, False),
        ({"message": "x", "kind": "Expected `int`, got "}, "kind", (), None, False),
        ({"message": "x", "kind": "Expected `str` of length <= 7"}, "kind", (), None, False),
    ],
)
def test_what_does_not_fit_says_what_and_why(
    members: dict[str, Any], field: str, kinds: tuple[str, ...], longest: int | None, empty: bool
) -> None:
    found = misfit(**members)
    assert (found.field, found.kinds, found.longest, found.is_empty) == (field, kinds, longest, empty)


def test_the_first_is_told_in_the_type_s_own_order_and_all_can_be_asked_for() -> None:
    members = {"last_seq": -1, "userAgent": [], "message": 1}
    assert misfit(**members).field == "message"
    assert [found.field for found in misfits(members, Frame)] == ["message", "userAgent", "last_seq"]
