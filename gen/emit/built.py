# SPDX-License-Identifier: Apache-2.0
"""The folder of a bitstream: build.json, and the files that it vouches for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gen.errors import InputError
from gen.files import read_bytes
from gen.jsontext import json_text

__all__ = ["BOARD_VERILOG", "MARKER", "NETLIST", "Built", "is_built", "open_built", "write_built"]

MARKER = "build.json"
BOARD_VERILOG = "board.v"
"""The board's top, in which core.v is an instance."""
NETLIST = "netlist.json"
"""The mapped core that is in the bitstream."""

_AGAIN = "make it again with 'rtlformer build'"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A folder that 'rtlformer build' made, its files as they were then."""

    folder: Path
    board: str
    bitstream: Path
    clock_hz: int
    """Of the core, which the PLL makes."""
    baud: int
    inverted: Mapping[str, int]
    """By port of the top: mask of the bits that are 1 where the pin is low."""


def is_built(folder: Path) -> bool:
    """Whether ``folder`` is of a bitstream, and not only of an accelerator."""
    return (folder / MARKER).is_file()


def write_built(folder: Path, facts: dict, files: Sequence[str]) -> dict:
    """Write build.json: ``facts``, and the hashes of ``files``, the bitstream first; returns all of it."""
    hashes = {name: {"sha256": sha256((folder / name).read_bytes()).hexdigest()} for name in files}
    facts = {**facts, "bitstream": files[0], "files": hashes}
    (folder / MARKER).write_text(json_text(facts) + "\n", encoding="utf-8")
    return facts


def open_built(folder: Path) -> Built:
    """Read build.json and check every file that it names.

    Raises
    ------
    InputError
        If there is none, or something is missing or altered.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make one with 'rtlformer build'")
    path = folder / MARKER
    if not path.is_file():
        raise InputError(f"{folder}: holds no {MARKER}, so no bitstream was built there; {_AGAIN}")
    try:
        facts = json.loads(read_bytes(path))
        files = {str(name): str(entry["sha256"]) for name, entry in facts["files"].items()}
        bitstream = str(facts["bitstream"])
        if not {bitstream, BOARD_VERILOG, NETLIST} <= files.keys():
            raise ValueError(f"{bitstream}, {BOARD_VERILOG} or {NETLIST} is not among its files")
        inverted: dict[str, int] = {}
        for pin in facts["pins"]:
            port, _, bit = str(pin["port"]).rstrip("]").partition("[")
            inverted[port] = inverted.get(port, 0) | bool(pin["inverted"]) << int(bit or 0)
        built = Built(
            folder=folder,
            board=str(facts["board"]),
            bitstream=folder / bitstream,
            clock_hz=int(facts["clock"]["hz"]),
            baud=int(facts["baud"]),
            inverted=inverted,
        )
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: truncated or altered ({type(error).__name__}: {error}); {_AGAIN}") from None
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing; {_AGAIN}")
        if sha256(read_bytes(folder / name)).hexdigest() != digest:
            raise InputError(f"{folder / name}: truncated or altered since it was built; {_AGAIN}")
    return built
