# SPDX-License-Identifier: Apache-2.0
"""JSON of one meaning, and files that carry a hash of themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gen.errors import InputError
from gen.jsonfile import canonical, parse_json, read_sealed, seal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' is given twice"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "1e999 is too large"),
        ("[" * 200_000, "nested too deeply"),
        (b"\xff\xfe\x00", "decode"),
        ("1" * 5000, "4300 digits"),
    ],
)
def test_what_has_no_one_meaning_is_refused(text: str | bytes, reason: str):
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_canonical_text_tells_values_apart():
    assert len({canonical(value) for value in (1, 1.0, True, "1", [1], None)}) == 6
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})


def test_seal(tmp_path: Path):
    path, facts = tmp_path / "facts.json", {"format": 3, "a": [1, 2], "b": {"c": 0.5}}
    sealed = seal(facts)
    path.write_text(json.dumps(sealed, indent=3))
    assert read_sealed(path, 3, "make it again") == sealed == {**facts, "sha256": sealed["sha256"]}
    for change in ({"a": [1, 2.0]}, {"a": [True, 2]}, {"d": 0}, {"sha256": None}, {"sha256": "0" * 64}):
        path.write_text(json.dumps({**sealed, **change}))
        with pytest.raises(InputError, match=r"facts.json: truncated or altered \(.*hash\); make it again"):
            read_sealed(path, 3, "make it again")
    for found in (2, 3.0, True, None, "3", [3]):
        path.write_text(json.dumps(seal({**facts, "format": found})))
        with pytest.raises(InputError, match="facts.json: is of format .*, this version reads 3; make it again"):
            read_sealed(path, 3, "make it again")
    for text in ("[]", "", "{", "null", '"sha256"', "[" * 200_000):
        path.write_text(text)
        with pytest.raises(InputError, match="facts.json: truncated or altered"):
            read_sealed(path, 3, "make it again")
