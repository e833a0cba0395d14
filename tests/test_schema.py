# SPDX-License-Identifier: Apache-2.0
"""Data against the types of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from gen.schema import Misfit, Pattern, Range, decode, describe


@dataclass(frozen=True)
class Left:
    x: int


@dataclass(frozen=True)
class Right:
    x: int


@dataclass(frozen=True)
class Whole:
    kind: Literal["a", "b"]
    count: Annotated[int, Range(1, 9)]
    share: float
    on: bool
    name: Annotated[str, Pattern("[a-z]+")] | None
    sides: tuple[Left | Right, ...]
    sizes: dict[str, Annotated[int, Range(0, 5)] | str]


GOOD = {"kind": "a", "count": 3, "share": 1, "on": True, "name": "x", "sides": [{"class": "Right", "x": 4}],
        "sizes": {"p": 1, "q": "r"}}  # fmt: skip


def test_decoded():
    found = decode(Whole, GOOD)
    assert found == Whole("a", 3, 1.0, True, "x", (Right(4),), {"p": 1, "q": "r"}) and type(found.share) is float
    assert decode(Whole, {**GOOD, "name": None, "sides": []}).sides == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "c"}, "kind must be one of a, b, not 'c'"),
        ({"kind": ["a"]}, "kind must be one of a, b, not a list"),
        ({"count": 10}, "count must be in 1..9, not 10"),
        ({"count": True}, "count must be an integer, not True"),
        ({"count": 3.0}, "count must be an integer, not 3.0"),
        ({"share": True}, "share must be a number, not True"),
        ({"share": float("nan")}, "share must be finite, not nan"),
        ({"share": 10**400}, "share must be a smaller number"),
        ({"on": 1}, "on must be true or false, not 1"),
        ({"name": "X"}, "name must be of the form [a-z]+, not 'X'"),
        ({"name": "x\n"}, "name must be of the form"),
        ({"sides": {"x": 1}}, "sides must be a list, not an object"),
        ({"sides": [{"x": 1}]}, "sides.0 must be one of Left, Right"),
        ({"sides": [{"class": "Left", "x": "1"}]}, "sides.0.x must be an integer, not '1'"),
        ({"sides": [{"class": "Left", "x": 1, "y": 1}]}, "sides.0 has an unknown field 'y'"),
        ({"sides": [{"class": "Left"}]}, "sides.0 lacks field 'x'"),
        ({"sizes": {"p": None}}, "sizes.p must be one of int, str, not None"),
        ({"sizes": {"p": 6}}, "sizes.p must be in 0..5, not 6"),
        ({"sizes": [["p", 1]]}, "sizes must be of type dict, not a list"),
        ({"class": "Left"}, "it must be of class Whole, not 'Left'"),
    ],
)
def test_misfits(change: dict[str, Any], message: str):
    with pytest.raises(Misfit) as caught:
        decode(Whole, {**GOOD, **change})
    assert message in str(caught.value)


def test_descriptions_are_short():
    assert describe("x" * 1000) == f"'{'x' * 35}..." and describe([[[]]]) == "a list" and describe(None) == "None"
