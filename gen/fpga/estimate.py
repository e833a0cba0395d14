# SPDX-License-Identifier: Apache-2.0
"""Size of a core before anything is built, and whether it fits a part.

Multipliers and block RAM are counted by the rules that the hardware and Yosys follow; the array's registers and
carries too. The other LUTs and registers come from a linear model, each module's cells over the number of rows and
lanes, fitted to netlists of five shapes (4x4x8, 2x2x4, 1x16x8, 4x8x16, and 4x4x8 with the I-BERT kernels; Yosys 0.68).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf

from gen.fpga.synth import Cells, Part
from hw.array.pe_array import ACC_BITS
from hw.config import CoreConfig
from hw.memories import MEMORIES
from hw.memory import bank_depths, banks

__all__ = ["Candidate", "Room", "block_ram", "estimate", "nearest_smaller", "rooms", "same_bytes"]

_WIDTHS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Depth and width of the forms of a DP16KD."""


@dataclass(frozen=True)
class _Linear:
    """LUT4, CCU2C and FF of a module: ``fixed + row * rows + lane * lanes`` each."""

    fixed: tuple[float, float, float]
    row: tuple[float, float, float] = (0, 0, 0)
    lane: tuple[float, float, float] = (0, 0, 0)

    def cells(self, config: CoreConfig) -> Cells:
        lut4, carry, ff = (
            round(f + r * config.rows + n * config.lanes)
            for f, r, n in zip(self.fixed, self.row, self.lane, strict=True)
        )
        return Cells(lut4=lut4, carry=carry, ff=ff)


_MODULES = (
    _Linear((711, 289, 2195), (247, 64, 169), (574, 148, 487)),  # norm
    _Linear((424, 176, 1338), (87, 0, 38), (317, 77, 264)),  # softmax
    _Linear((242, 63, 954), (-40, -8, 122), (335, 66, 413)),  # drain
    _Linear((1450, 210, 2200)),  # sequencer, semaphores, gates, feeder, store, loader
    _Linear((225, 30, 95), (8, 0, 0), (33, 0, 0)),  # top: what chooses between sources, and write steering
)
_IBERT_GELU = _Linear((0, 0, 0), (0, 0, 0), (1052, 194, 1100))
_IBERT_EXP = _Linear((0, 0, 0), (0, 0, 0), (26, 52, 132))


def block_ram(words: int, width: int, granularity: int) -> int:
    """DP16KD blocks of a tensor memory (see ``hw/memory.py``): ``width`` bits in write lanes of ``granularity``."""

    total, start = 0, 0
    for size in bank_depths(words):
        depth = min(size, words - start)
        total += min(_blocks(depth, width, granularity, form) for form in _WIDTHS)
        start += size
    return total


def _blocks(depth: int, width: int, granularity: int, form: tuple[int, int]) -> int:
    form_depth, form_width = form
    stacked = -(-depth // form_depth)
    lanes = -(-width // granularity)
    if form_width < 9:
        return stacked * lanes * -(-granularity // form_width)
    bytes_a_lane = -(-granularity // 9)  # a write enable covers nine bits
    return stacked * -(-lanes * bytes_a_lane // (form_width // 9))


def _memories(config: CoreConfig) -> Cells:

    blocks = lut4 = ff = lut_ram = 0
    for memory in MEMORIES.values():
        shape, used = memory.geometry(config), memory.stored(config)
        if memory.within:
            blocks += memory.copies(config) * block_ram(shape.words, shape.bits, used)
            continue
        lanes = shape.lanes
        found = banks(shape.words, lanes, used, dense=config.dense)
        for bank in found:
            width = lanes * bank.bits
            if bank.style == "distributed":
                lut_ram += -(-bank.words // 16) * -(-width // 4)
                ff += width
                lut4 += width * -(-bank.words // 16) // 3  # what selects one of sixteen words each, measured
            else:
                blocks += min(_blocks(bank.words, width, bank.bits, form) for form in _WIDTHS)
        whole = sum(1 for number, bank in enumerate(found) if number == 0 or bank.start)
        lut4 += lanes * used * (whole - 1)
        ff += lanes * used  # of writes
    return Cells(lut4=lut4, ff=ff, block_ram=blocks, lut_ram=lut_ram)


def _array(config: CoreConfig) -> Cells:
    """Adder trees and accumulators as ``hw/array/pe_array.py`` builds them, and the tile that the drain captures."""
    carry, ff, terms, width = 0, config.depth * 17, config.depth, 17
    while terms > 1:
        terms, width = terms // 2, width + 1
        carry += terms * -(-width // 2)
        ff += terms * width
    elements = config.rows * config.cols
    operands = (config.rows + config.cols) * config.depth * 8
    tile = elements * ACC_BITS
    return Cells(
        lut4=tile + (tile - config.lanes * ACC_BITS) + round(1.2 * operands),
        carry=elements * (carry + ACC_BITS // 2),
        ff=elements * ff + 2 * tile + 2 * operands + 10 * config.rows,
    )


def estimate(config: CoreConfig) -> Cells:
    """Cells of a core of ``config`` on ECP5, derived without synthesis."""
    lanes = config.lanes
    total = _array(config) + _memories(config)
    for module in _MODULES:
        total += module.cells(config)
    if config.gelu == "ibert":
        total += _IBERT_GELU.cells(config)
    if config.exp == "ibert":
        total += _IBERT_EXP.cells(config)
    lut_ram = 159 + 12 * lanes + 6 * config.rows
    return total + Cells(multipliers=_multipliers(config), lut_ram=lut_ram)


def _multipliers(config: CoreConfig) -> int:
    """Whatever the memories hold."""
    each = 6 + 3 * (config.gelu == "ibert") + 2 * (config.exp == "ibert")
    return config.macs + each * config.lanes + 3


@dataclass(frozen=True, kw_only=True)
class Room:
    """What is needed of a resource, and what a part has."""

    resource: str
    needed: int
    available: int

    @property
    def fits(self) -> bool:
        """Whether there is enough."""
        return self.needed <= self.available


def rooms(cells: Cells, part: Part) -> list[Room]:
    """Needed and available, resource by resource."""
    return [
        Room(resource="LUT sites", needed=cells.lut_sites, available=part.lut4),
        Room(resource="multipliers", needed=cells.multipliers, available=part.multipliers),
        Room(resource="block RAM", needed=cells.block_ram, available=part.block_ram),
    ]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration and the room that its estimate needs on a part."""

    config: CoreConfig
    rooms: tuple[Room, ...]

    @property
    def fits(self) -> bool:
        """Whether there is enough of everything."""
        return all(room.fits for room in self.rooms)

    @property
    def scarcest(self) -> Room:
        """Of what most is needed, beside what there is."""
        return max(self.rooms, key=lambda room: room.needed / room.available)


def nearest_smaller(
    config: CoreConfig,
    part: Part,
    resize: Callable[[CoreConfig], CoreConfig | None],
    progress: Callable[[str, int, int], None] | None = None,
) -> Candidate | None:
    """The configuration of the most multipliers, below those of ``config``, whose estimate fits ``part``.

    Where none fits, the one that comes nearest: whose scarcest resource is exceeded least. None if none is smaller.

    ``resize`` sets a candidate's capacities (or returns None if the model does not go with it). ``progress`` is told
    the array that is tried, how many were and how many there are.
    """
    shapes = [shape for shape in _shapes(config) if _multipliers(shape) <= part.multipliers]
    nearest, excess = None, inf
    for number, shape in enumerate(shapes):
        if progress:
            progress(shape.array, number, len(shapes))
        sized = resize(shape)
        if sized is None:
            continue
        candidate = Candidate(config=sized, rooms=tuple(rooms(estimate(sized), part)))
        if candidate.fits:
            return candidate
        most = candidate.scarcest.needed / candidate.scarcest.available
        if most < excess:
            nearest, excess = candidate, most
    return nearest


def same_bytes(config: CoreConfig, shape: CoreConfig) -> CoreConfig:
    """``shape`` with capacities that hold as many bytes as those of ``config``."""
    capacities = {}
    for memory in MEMORIES.values():
        if memory.capacity:
            old, new = (memory.geometry(c).bits * memory.unit(c) for c in (config, shape))
            capacities[memory.capacity] = -(-getattr(config, memory.capacity) * old // new)
    return replace(shape, **capacities)


def _shapes(config: CoreConfig) -> Iterator[CoreConfig]:
    """Smaller arrays, most multipliers first; among equals those most like ``config``."""
    found = []
    for rows in (1, 2, 4, 8, 16):
        for cols in (2, 4, 8, 16, 32, 64):
            for depth in (4, 8, 16, 32, 64):
                if rows * cols * depth >= config.macs:
                    continue
                for drain_columns in (1, 2, 4, 8):
                    try:
                        shape = replace(config, rows=rows, cols=cols, depth=depth, drain_columns=drain_columns)
                    except ValueError:
                        continue
                    unlike = sum(
                        abs(getattr(shape, name).bit_length() - getattr(config, name).bit_length())
                        for name in ("rows", "cols", "depth", "drain_columns")
                    )
                    found.append((-shape.macs, unlike, shape))
    yield from (shape for _, _, shape in sorted(found, key=lambda entry: entry[:2]))
