# SPDX-License-Identifier: Apache-2.0
"""Data from outside against the types of a dataclass: nothing is converted, guessed, missing or left over."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["Misfit", "Pattern", "Range", "decode", "describe"]


class Misfit(ValueError):
    """A value that is not what its place asks for; the message names the place, the rule and the value."""


@dataclass(frozen=True)
class Range:
    """Rule of an ``Annotated`` number: it lies in ``low``..``high``."""

    low: float
    high: float

    def __call__(self, value: float) -> str | None:
        return None if self.low <= value <= self.high else f"in {self.low}..{self.high}"


@dataclass(frozen=True)
class Pattern:
    """Rule of an ``Annotated`` string: the whole of it matches the regular expression ``text``."""

    text: str

    def __call__(self, value: str) -> str | None:
        return None if re.fullmatch(self.text, value) else f"of the form {self.text}"


@dataclass(frozen=True)
class OneOf:
    """Rule of an ``Annotated`` string: it is among ``choices``."""

    choices: tuple[str, ...]

    def __call__(self, value: str) -> str | None:
        return None if value in self.choices else f"one of {', '.join(self.choices)}"


Unwrap = Callable[[type, Any], Any]


def decode(kind: Any, value: Any, where: str = "", *, unwrap: Unwrap = lambda kind, value: value) -> Any:
    """``value``, as JSON gives it, as ``kind``: a dataclass, ``tuple[T, ...]``, ``dict[str, T]``, a union, ``Literal``,
    ``Annotated`` with rules, bool, int, float or str. Objects have exactly a dataclass's fields; in a union of
    dataclasses the key ``class`` names the one. Bools are no numbers, floats no integers, NaN nothing.

    Parameters
    ----------
    where : place of the value, for messages
    unwrap : makes ``(kind, value)`` a dict, or an instance of a class that is none of the above

    Raises
    ------
    Misfit
    """

    def inner(kind: Any, value: Any, name: object) -> Any:
        return decode(kind, value, f"{where}.{name}" if where else str(name), unwrap=unwrap)

    def need(what: str) -> Misfit:
        return Misfit(f"{where or 'it'} must be {what}, not {describe(value)}")

    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = decode(arguments[0], value, where, unwrap=unwrap)
        for rule in arguments[1:]:
            if wanted := rule(found):
                raise need(wanted)
        return found
    if origin is Literal:
        if not any(type(value) is type(each) and value == each for each in arguments):
            raise need(f"one of {', '.join(map(str, arguments))}")
        return value
    if origin in (Union, UnionType):
        return decode(_choice(arguments, value, need), value, where, unwrap=unwrap)
    if origin is tuple:
        if not isinstance(value, list):
            raise need("a list")
        return tuple(inner(arguments[0], item, number) for number, item in enumerate(value))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise need("an object")
        if (found := value.get("class", kind.__name__)) != kind.__name__:
            raise Misfit(f"{where or 'it'} must be of class {kind.__name__}, not {describe(found)}")
        hints = _hints(kind)
        if wrong := sorted(hints.keys() ^ (value.keys() - {"class"})):
            raise Misfit(f"{where or 'it'} {'lacks' if wrong[0] in hints else 'has an unknown'} field {wrong[0]!r}")
        return kind(**{name: inner(hint, value[name], name) for name, hint in hints.items()})
    if kind is float:
        if type(value) not in (int, float):
            raise need("a number")
        try:
            found = float(value)
        except OverflowError:
            raise need("a smaller number") from None
        if not math.isfinite(found):
            raise need("finite")
        return found
    if kind in (bool, int, str, NoneType):
        if type(value) is not kind:
            raise need({bool: "true or false", int: "an integer", str: "a string", NoneType: "null"}[kind])
        return value
    value = unwrap(origin or kind, value)
    if not isinstance(value, origin or kind):
        raise need(f"of type {(origin or kind).__name__}")
    if origin is dict:
        return {inner(arguments[0], name, name): inner(arguments[1], item, name) for name, item in value.items()}
    return value


def _choice(kinds: tuple, value: Any, need: Callable[[str], Misfit]) -> Any:
    """The member of a union that a value claims to be."""
    if value is None and NoneType in kinds:
        return NoneType
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    if len(kinds) == 1:
        return kinds[0]
    plain = {get_args(kind)[0] if get_origin(kind) is Annotated else kind: kind for kind in kinds}
    for kind in plain:
        if value.get("class") == kind.__name__ if isinstance(value, dict) else type(value) is kind:
            return plain[kind]
    raise need(f"one of {', '.join(kind.__name__ for kind in plain)}")


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def describe(value: Any) -> str:
    """A value for a message: short, whatever it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
