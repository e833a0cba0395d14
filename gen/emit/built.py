# SPDX-License-Identifier: Apache-2.0
"""The folder of a bitstream: build.json, and the files that it vouches for.

build.json carries a hash of itself, which build.md repeats, and belongs to the manifest beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gen.emit import manifest
from gen.emit.buildfacts import BITSTREAM, FILES, FORMAT, BuildFacts
from gen.errors import InputError, brief
from gen.files import check_files, read_bytes
from gen.jsonfile import read_sealed, seal
from gen.jsontext import json_text
from gen.schema import decode
from hw.link.uart import phase_step

__all__ = ["MARKER", "REPORT", "Built", "is_built", "open_built", "write_built"]

MARKER = "build.json"
REPORT = "build.md"

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


def write_built(folder: Path, facts: Mapping, report: Callable[[dict], str]) -> dict:
    """Write build.json: ``facts``, and the hashes of :data:`gen.emit.buildfacts.FILES`; returns all of it.

    ``report`` makes the text of build.md of it.
    """
    hashes = {name: {"sha256": sha256((folder / name).read_bytes()).hexdigest()} for name in FILES}
    facts = seal({"format": FORMAT, **facts, "bitstream": BITSTREAM, "files": hashes})
    (folder / MARKER).write_text(json_text(facts) + "\n", encoding="utf-8")
    text = report(facts) + _seal_line(facts["sha256"])  # which may name --config: any bytes, if that is a file
    (folder / REPORT).write_text(text, encoding="utf-8", errors="backslashreplace")
    return facts


def _seal_line(digest: str) -> str:
    return f"\n{MARKER} has the hash {digest}.\n"


def open_built(folder: Path) -> Built:
    """Read build.json, and check every number in it and every file that it names.

    Raises
    ------
    InputError
        If there is none, or something is missing, altered or another build's.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make one with 'rtlformer build'")
    path = folder / MARKER
    if not path.is_file():
        raise InputError(f"{folder}: holds no {MARKER}, so no bitstream was built there; {_AGAIN}")
    try:
        facts = decode(BuildFacts, read_sealed(path, FORMAT, _AGAIN))
        if facts.files.keys() != set(FILES):
            raise ValueError(f"its files must be {', '.join(FILES)}")
        phase_step(facts.clock.hz, facts.baud)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: altered ({brief(error)}); {_AGAIN}") from None
    check_files(folder, {name: file.sha256 for name, file in facts.files.items()}, _AGAIN)
    if not read_bytes(folder / REPORT).endswith(_seal_line(facts.sha256).encode()):
        raise InputError(f"{path}: is not what {REPORT} reports, so one of them was altered; {_AGAIN}")
    design = read_sealed(folder / manifest.MANIFEST, manifest.FORMAT, _AGAIN)
    for name, found in (("model_hash", facts.model_hash), ("configuration_sha256", facts.configuration_sha256)):
        if design.get(name) != found:
            raise InputError(f"{path}: its {name} is not that of {manifest.MANIFEST}, another build's; {_AGAIN}")
    inverted: dict[str, int] = {}
    for pin in facts.pins:
        port, _, bit = pin.port.rstrip("]").partition("[")
        inverted[port] = inverted.get(port, 0) | pin.inverted << int(bit or 0)
    return Built(
        folder=folder,
        board=facts.board,
        bitstream=folder / BITSTREAM,
        clock_hz=facts.clock.hz,
        baud=facts.baud,
        inverted=inverted,
    )
