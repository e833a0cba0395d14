# SPDX-License-Identifier: Apache-2.0
"""JSON as files of ours hold it: one meaning or none, and a hash of itself where a file must not be altered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from gen.errors import InputError, brief
from gen.files import read_bytes
from gen.jsontext import json_text
from gen.schema import describe

__all__ = ["SEAL", "canonical", "parse_json", "read_sealed", "seal"]

SEAL = "sha256"
"""Key of a sealed object's hash."""


def parse_json(data: str | bytes) -> Any:
    """The value of a JSON text. What parsers differ on is refused: keys given twice, NaN, numbers beyond a double.

    Raises
    ------
    ValueError
        If it is no such text; the message says why.
    """
    try:
        return json.loads(data, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in found if names.count(name) > 1)!r} is given twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def canonical(value: Any) -> str:
    """The one text of a value, in which 1, 1.0 and true differ and the order of keys does not count."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seal(facts: Mapping[str, Any]) -> dict[str, Any]:
    """``facts`` as a file will give them back, with the SHA-256 of their canonical text, for :func:`read_sealed`."""
    facts = json.loads(json_text(facts))
    return {**facts, SEAL: _digest(facts)}


def read_sealed(path: Path, format: int, way_out: str) -> dict[str, Any]:
    """What :func:`seal` made and a file holds, the hash included.

    Raises
    ------
    InputError
        If the file cannot be read, is of another ``format``, or not as it was sealed; the message ends with
        ``way_out``.
    """
    data = read_bytes(path)
    try:
        facts = parse_json(data)
        if not isinstance(facts, dict):
            raise ValueError("no JSON object")
        if (found := describe(facts.get("format"))) != str(format):
            raise InputError(f"{path}: is of format {found}, this version reads {format}; {way_out}")
        if facts.get(SEAL) != _digest({key: value for key, value in facts.items() if key != SEAL}):
            raise ValueError("its content does not match its hash")
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: truncated or altered ({brief(error)}); {way_out}") from None
    return facts


def _digest(facts: Mapping[str, Any]) -> str:
    return sha256(canonical(facts).encode()).hexdigest()
