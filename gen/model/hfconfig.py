# SPDX-License-Identifier: Apache-2.0
"""Typed, checked access to the JSON files of a Hugging Face style folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gen.errors import InputError, brief
from gen.files import read_bytes
from gen.schema import describe

LIMIT = 1 << 24  # above any sensible dimension: keeps products of two of them inside int64
MISSING = object()


class Config:
    """One JSON object. A key that is absent or null takes its default; one without a default is required."""

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise InputError(f"{path}: no such file; fetch or export the whole folder")
        data = read_bytes(path)
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not valid JSON ({brief(error)}); fetch or export the file again") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}: holds a JSON {type(values).__name__}, not an object; export it again")
        self.values: dict = values

    def fail(self, key: str, rule: str) -> InputError:
        """The error for a value that breaks ``rule``."""
        value = self.values.get(key)
        try:
            text = json.dumps(value)
        except RecursionError:  # as deep as it could just be read
            text = describe(value)
        return InputError(f"{self.path}: {key} must be {rule}, not {text[:60]}; correct it")

    def _value(self, key: str, default: object) -> Any:
        value = self.values.get(key)
        if value is None:
            if default is MISSING:
                raise InputError(f"{self.path}: {key} is missing; add it or export the checkpoint again")
            return default
        return value

    def text(self, key: str, default: object = MISSING) -> str:
        """A string."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.fail(key, "a string")
        return value

    def flag(self, key: str, default: object = MISSING) -> bool:
        """A boolean."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.fail(key, "true or false")
        return value

    def integer(self, key: str, default: object = MISSING) -> int:
        """A positive integer."""
        value = self._value(key, default)
        if not _is_count(value):
            raise self.fail(key, f"an integer in 1..{LIMIT}")
        return value

    def number(self, key: str, default: object = MISSING) -> float:
        """A positive finite number."""
        value = self._value(key, default)
        if not _is_number(value) or value <= 0:
            raise self.fail(key, "a positive number")
        return float(value)

    def numbers(self, key: str, count: int, default: list[float]) -> list[float]:
        """``count`` finite numbers; one number stands for all."""
        value = self._value(key, default)
        values = value if isinstance(value, list) else [value]
        values = values * count if len(values) == 1 else values
        if len(values) != count or not all(_is_number(x) for x in values):
            raise self.fail(key, f"{count} number(s)")
        return [float(x) for x in values]

    def pair(self, key: str) -> tuple[int, int]:
        """A height and a width; one integer stands for both."""
        value = self._value(key, MISSING)
        values = value if isinstance(value, list) else [value, value]
        if len(values) != 2 or not all(_is_count(x) for x in values):
            raise self.fail(key, "one or two positive integers")
        return values[0], values[1]

    def require(self, key: str, supported: object, reason: str) -> None:
        """Refuse any value but ``supported`` (which is also the default)."""
        if self._value(key, supported) != supported:
            raise self.fail(key, f"{json.dumps(supported)} ({reason})")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LIMIT


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 53
