# SPDX-License-Identifier: Apache-2.0
"""What build.json says, as types: every field, and the range of every number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from gen.schema import Pattern, Range

__all__ = ["BITSTREAM", "BOARD_VERILOG", "CONSTRAINTS", "FILES", "FORMAT", "NETLIST", "BuildFacts"]

FORMAT = 1
BITSTREAM = "board.bit"
BOARD_VERILOG = "board.v"
"""The board's top, in which core.v is an instance."""
CONSTRAINTS = "board.lpf"
NETLIST = "netlist.json"
"""The mapped core that is in the bitstream."""
FILES = (BITSTREAM, BOARD_VERILOG, CONSTRAINTS, NETLIST)
"""What build.json vouches for, all of it and nothing else."""

Word = Annotated[str, Pattern(r"[0-9A-Za-z.+!_-]{1,64}")]
Text = Annotated[str, Pattern(r"(?s:.{0,4096})")]
Hash64 = Annotated[str, Pattern("[0-9a-f]{16}")]
Sha256 = Annotated[str, Pattern("[0-9a-f]{64}")]
Hz = Annotated[int, Range(1_000_000, 1_000_000_000)]
Mhz = Annotated[float, Range(0, 10_000)]  # 0: not routed
Ns = Annotated[float, Range(-1000, 1000)]
Count = Annotated[int, Range(0, 10_000_000)]
Seed = Annotated[str, Pattern("[1-9][0-9]{0,5}")]
Baud = Annotated[int, Range(1, 1_000_000_000)]  # what the clock can make of it is checked besides


@dataclass(frozen=True)
class PinFacts:
    """A pin of the board's top."""

    port: Annotated[str, Pattern(r"[a-z_]+(\[[0-9]{1,2}\])?")]
    site: Word
    inverted: bool


@dataclass(frozen=True)
class ClockFacts:
    """The clock asked for, and the PLL's."""

    asked_mhz: Mhz
    pll_mhz: Mhz
    hz: Hz
    input_mhz: Mhz
    oscillator_mhz: Mhz
    parameters: dict[Word, Count | Word]
    kind: Literal["derived"]


@dataclass(frozen=True)
class RateFacts:
    """Clock rates that routing proved, by seed."""

    kind: Literal["measured after routing"]
    chosen: Mhz
    median: Mhz
    lowest: Mhz
    highest: Mhz
    seeds: dict[Seed, Mhz]


@dataclass(frozen=True)
class AttemptFacts:
    """Rates by seed at one setting of the PLL."""

    pll_mhz: Mhz
    met: bool
    seeds: dict[Seed, Mhz]


@dataclass(frozen=True)
class HopFacts:
    """A step of the critical path."""

    kind: Text
    ns: Ns
    at: Text


@dataclass(frozen=True)
class SlowFacts:
    """Where a late signal ends."""

    ns: Ns
    driver: Text
    end: Text


@dataclass(frozen=True)
class PathFacts:
    """The critical path, and the late signals."""

    text: Text
    hops: tuple[HopFacts, ...]
    slow: tuple[SlowFacts, ...]


@dataclass(frozen=True)
class RoomFacts:
    """Of one kind of cell: used in all, by the core, and there."""

    used: Count
    core: Count
    available: Count


@dataclass(frozen=True)
class ResourceFacts:
    """What limits the size of a design."""

    kind: Literal["measured on the netlist"]
    lut_sites: RoomFacts
    multipliers: RoomFacts
    block_ram: RoomFacts


@dataclass(frozen=True)
class FileFacts:
    """One of the files that build.json vouches for."""

    sha256: Sha256


@dataclass(frozen=True)
class BuildFacts:
    """All of build.json."""

    format: Literal[1]
    rtlformer: Word
    board: Word
    part: Word
    package: Word
    speed_grade: Annotated[int, Range(1, 99)]
    array: Word
    configuration_sha256: Sha256
    configuration_hash: Hash64
    model: Text
    model_hash: Hash64
    baud: Baud
    pins: tuple[PinFacts, ...]
    tools: dict[Word, Word]
    clock: ClockFacts
    seed: Annotated[int, Range(1, 999_999)]
    fmax_mhz: RateFacts
    attempts: tuple[AttemptFacts, ...]
    critical_path: PathFacts
    resources: ResourceFacts
    cells: dict[Word, Count]
    used: dict[Word, Count]
    config: Text
    bitstream: Literal["board.bit"]
    files: dict[Word, FileFacts]
    sha256: Sha256
