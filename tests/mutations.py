# SPDX-License-Identifier: Apache-2.0
"""Damage of every kind, seeded: to JSON values, and to bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

__all__ = ["damaged_bytes", "json_text", "mutate"]

_TWICE = "\0twice"  # ends a key that json_text writes as the one before it
_DEEP = "\0deep"  # a value nested deeper than any stack
_DEPTH = 100_000

_STRINGS = ["", "../x", "../../etc/passwd", "/etc/passwd", "~", ".", "a\0b", "\ud800", "x" * 5000, "1", "true", "null"]
_NUMBERS = [0, -1, 1, 2, 1 << 31, 1 << 63, 1 << 64, 10**30, -(10**30), 0.5, -0.0, 1e308, 1e-308, float("nan"),
            float("inf"), float("-inf")]  # fmt: skip
_OTHERS = [None, True, False, 0, 1, 1.5, "x", [], {}, [[]], {"a": 1}, _DEEP]


def _places(value: Any, parent: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside a value."""
    if parent is not None:
        yield parent, key
    for name, item in list(value.items() if isinstance(value, dict) else enumerate(value)
                           if isinstance(value, list) else ()):  # fmt: skip
        yield from _places(item, value, name)


def mutate(value: Any, random: Random) -> Any:
    """A copy of a JSON object with one change; :func:`json_text` writes it. It may happen to be equal."""
    value = copy.deepcopy(value)
    parent, key = random.choice(list(_places(value)))
    old = parent[key]
    choices = ["retype", "retype", "swap", "alter", "alter", "alter", "delete", "repeat"]
    if isinstance(parent, dict):
        choices += ["rename", "twice", "unknown"]
    match random.choice(choices):
        case "retype":
            parent[key] = copy.deepcopy(random.choice(_OTHERS))
        case "swap":
            other, name = random.choice(list(_places(value)))
            parent[key] = copy.deepcopy(other[name])
        case "alter":
            parent[key] = _altered(old, random)
        case "delete":
            del parent[key]
        case "repeat":
            if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(old))
            else:
                parent[f"{key}x"] = copy.deepcopy(old)
        case "rename":
            del parent[key]
            parent[random.choice([f"{key}x", str(key).upper(), "", "../x", "class", "sha256"])] = old
        case "twice":
            items = list(parent.items())
            parent.clear()
            for name, item in items:
                parent[name] = item
                if name == key:
                    parent[f"{name}{_TWICE}"] = _altered(item, random)
        case "unknown":
            parent["unknown"] = copy.deepcopy(random.choice(_OTHERS))
    return value


def _altered(old: Any, random: Random) -> Any:
    """Another value of the same type, or of one near to it."""
    if isinstance(old, bool):
        return random.choice([not old, int(old), str(old)])
    if isinstance(old, (int, float)):
        near = [old + 1, old - 1, old * 2, -old, float(old), int(old), bool(old), str(old), [old]]
        return random.choice([random.choice(_NUMBERS), random.choice(near)])
    if isinstance(old, str):
        near = [old[:-1], old + "0", old.swapcase(), old[::-1], f"../{old}", f"./{old}", f"/{old}", f"x/../{old}"]
        if old and all(c in "0123456789abcdef" for c in old):
            near += [f"{int(old, 16) ^ 1:0{len(old)}x}"] * 4
        return random.choice([random.choice(_STRINGS), random.choice(near), random.choice(near)])
    if isinstance(old, list):
        return random.choice([old[:-1], old[1:], old[::-1], old + old[-1:], [old], [], {"0": old}, _DEEP])
    if isinstance(old, dict):
        return random.choice([{}, [old], list(old.values()), list(old), dict(list(old.items())[1:]), _DEEP])
    return random.choice(_OTHERS)


def json_text(value: Any) -> str:
    """The text of what :func:`mutate` made, with its doubled keys and bottomless values."""
    text = json.dumps(value).replace(json.dumps(_TWICE)[1:-1], "")
    return text.replace(json.dumps(_DEEP), "[" * _DEPTH + "]" * _DEPTH)


def damaged_bytes(data: bytes, random: Random, first: int = 0) -> bytes:
    """Bytes with one piece of damage from ``first`` on."""
    place = random.randrange(first, len(data))
    length = random.choice([1, 2, 4, 8, 64])
    match random.randrange(8):
        case 0 | 1 | 2:
            return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
        case 3:
            return data[:place]
        case 4:
            return data[:place] + random.randbytes(length) + data[place + length :]
        case 5:
            return data[:place] + random.randbytes(length) + data[place:]
        case 6:
            return data[:place] + data[place + length :]
        case _:
            return data[:place] + random.choice([b"\0", b"\xff"]) * length + data[place + length :]
