# SPDX-License-Identifier: Apache-2.0
"""The JSON that commands print."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from gen.jsontext import json_text
from tests.commandline import ROOT


def test_types():
    value = {"a": np.int16(3), "b": np.arange(2), "c": Path("x"), "d": None, "e": np.float32(0.5)}
    assert json.loads(json_text(value)) == {"a": 3, "b": [0, 1], "c": "x", "d": None, "e": 0.5}


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), np.float32("nan"), np.float64("inf")])
@pytest.mark.parametrize("inside", [lambda x: x, lambda x: [x], lambda x: {"a": {"b": x}}, lambda x: np.array([1, x])])
def test_numbers_that_json_does_not_have(number: float, inside):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(inside(number))


def test_no_option_takes_what_json_does_not_have():
    for path in [*(ROOT / "gen").rglob("*.py"), *(ROOT / "boards").rglob("*.py")]:
        text = path.read_text(encoding="utf-8").replace("class Finite(click.FloatRange)", "")
        assert not re.search(r"click\.(FloatRange|FLOAT)|type=float", text), path


def test_nothing_is_written_by_another_encoder():
    """But for what quotes a file that it read."""
    for path in [*(ROOT / "gen").rglob("*.py"), *(ROOT / "boards").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
                assert "allow_nan=False" in ast.unparse(node) or path.name == "hfconfig.py", path
