# SPDX-License-Identifier: SHL-2.1
"""Structs as integers: the one way to pack and unpack them outside hardware."""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["FieldError", "Place", "fields_of", "pack", "record", "unpack"]


class FieldError(ValueError):
    """A value that its field does not hold."""


class Place(NamedTuple):
    """Where a field lies in its word, and what it holds."""

    offset: int
    width: int
    signed: bool
    shape: Any

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.width - self.signed)) - 1

    @property
    def struct(self) -> bool:
        """It is a Struct within the Struct."""
        return isinstance(self.shape, type) and issubclass(self.shape, data.Struct)

    @property
    def enum(self) -> bool:
        """It holds an enumeration."""
        return isinstance(self.shape, type) and issubclass(self.shape, Enum)


@cache
def fields_of(struct: type[data.Struct]) -> dict[str, Place]:
    """Place of each field of a Struct, in order."""
    return {
        str(name): Place(field.offset, field.width, Shape.cast(field.shape).signed, field.shape)
        for name, field in data.Layout.cast(struct)
    }


def pack(struct: type[data.Struct], values: Mapping[str, Any]) -> int:
    """Word of a Struct; fields not given are 0, Structs within it take mappings.

    Raises
    ------
    FieldError
        If a value does not fit its field.
    KeyError
        If the Struct has no such field.
    """
    word, places = 0, fields_of(struct)
    if unknown := set(values) - set(places):
        raise KeyError(f"{struct.__name__} has no field {', '.join(sorted(unknown))}")
    for name, value in values.items():
        place = places[name]
        if isinstance(value, Mapping):
            value = pack(place.shape, value)
        value = int(value.value if isinstance(value, Enum) else value)
        if not place.low <= value <= place.high:
            raise FieldError(f"field {name} of {struct.__name__} holds {place.low}..{place.high} and {value} is needed")
        word |= (value & ((1 << place.width) - 1)) << place.offset
    return word


def unpack(struct: type[data.Struct], word: int) -> dict[str, Any]:
    """Fields of a word, the inverse of :func:`pack`; bits above the Struct's are not looked at.

    Structs within it come back as dicts, enumerations as members: a number without a member as it is.
    """
    values: dict[str, Any] = {}
    for name, place in fields_of(struct).items():
        value = (int(word) >> place.offset) & ((1 << place.width) - 1)
        if place.signed and value >> (place.width - 1):
            value -= 1 << place.width
        values[name] = value
        if place.struct:
            values[name] = unpack(place.shape, value)
        elif place.enum and value in {member.value for member in place.shape}:
            values[name] = place.shape(value)
    return values


def record(struct: type[data.Struct], word: int) -> SimpleNamespace:
    """Fields of a word as attributes, otherwise as :func:`unpack` gives them."""
    return SimpleNamespace(**unpack(struct, word))
