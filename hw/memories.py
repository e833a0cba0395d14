# SPDX-License-Identifier: SHL-2.1
"""The memories of a core, declared once: hardware, loading, layout, estimates and documents derive from this table."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import enum
from amaranth.utils import ceil_log2

from .config import CoreConfig

__all__ = ["CORE_MEMORIES", "LOADABLE", "MEMORIES", "SCORE_BITS", "TABLE_ENTRIES", "Geometry", "Memory", "Target"]

TABLE_ENTRIES = 512
"""Bytes of one activation table: two banks of 256."""


SCORE_BITS = 24
"""Width of a raw score: contractions (head sizes) below 512, where -128 times -128 all along would first overflow."""


class Target(enum.Enum, shape=4):
    """Memory that a load packet writes."""

    W = 0
    ACT = 1
    RES = 2
    CHAN = 3
    NORM = 4
    HEAD = 5
    TABLE = 6
    PROG = 7
    REGION = 8  # one word, an InputRegion


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Size of a memory in one configuration: ``words`` of ``lanes * granularity`` bits."""

    words: int
    lanes: int
    """Parts of a word that can be written by themselves."""
    granularity: int
    """Bits of a lane."""

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return self.lanes * self.granularity

    @property
    def bytes(self) -> int:
        """Bytes of a word."""
        return self.bits // 8

    @property
    def word_units(self) -> int:
        """Stream words (64 bits) of one word; a narrower word takes a stream word of its own."""
        return max(self.bits // 64, 1)

    @property
    def units(self) -> int:
        """Stream words that fill the memory: what addresses and counts of load packets are in."""
        return self.words * self.word_units


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory, whatever the configuration. Its name is that of the command set, in code, files and documents."""

    name: str
    holds: str
    word: str
    """What a word is, in terms of the configuration's fields."""
    geometry: Callable[[CoreConfig], Geometry]
    readers: tuple[str, ...]
    """Components that read it. Where they share the port, the first comes first."""
    writers: tuple[str, ...]
    """Components that write it, likewise."""
    beat: Callable[[CoreConfig], int] | None = None
    """Bits that an engine writes at once, at an address in units of that; else whole words with an enable per lane."""
    target: Target | None = None
    """Load target, where packets and initial images can fill it."""
    capacity: str | None = None
    """Field of the configuration that sets its size."""
    fit_step: int = 512
    """What ``--fit`` rounds the capacity up to."""
    used: int | None = None
    """Bits of a lane that mean something, from bit 0, where not all do: the others are not stored and read as 0."""
    within: str | None = None
    """Component that it is part of, where it is none of the core's own block RAMs."""
    copies: Callable[[CoreConfig], int] = lambda config: 1
    """Copies in block RAM; none where it is a register."""

    @property
    def instance(self) -> str:
        """Name of its instance in the core."""
        return f"memory_{self.name.lower()}"

    @property
    def ring(self) -> bool:
        """Whether it is a ring of row blocks, whose place is implied: programs have no addresses in it."""
        return self.target is None and self.capacity is None

    @property
    def computed(self) -> bool:
        """Whether engines write it."""
        return set(self.writers) != {"loader"}

    def stored(self, config: CoreConfig) -> int:
        """Bits of a lane that are stored."""
        return self.geometry(config).granularity if self.used is None else self.used

    def unit(self, config: CoreConfig) -> int:
        """Words for each one of the capacity field; 1 where there is no such field."""
        return self.geometry(config).words // getattr(config, self.capacity) if self.capacity else 1


def _split(words: int, bits: int, granularity: int) -> Geometry:
    granularity = min(bits, granularity)
    return Geometry(words=words, lanes=bits // granularity, granularity=granularity)


def _ring(config: CoreConfig, each: int) -> int:
    """Words of a ring of ``each`` words a row block: both rounded up to a power of two."""
    return 1 << (ceil_log2(each) + ceil_log2(config.slots))


_TABLE = (
    Memory(
        name="W",
        target=Target.W,
        capacity="w_words",
        holds="weights",
        word="cols * depth bytes",
        geometry=lambda c: _split(c.w_words, c.cols * c.depth * 8, 64),
        readers=("array",),
        writers=("loader",),
    ),
    Memory(
        name="ACT",
        target=Target.ACT,
        capacity="act_words",
        holds="A operands: input, normalised rows, Q, attention output, FFN hidden rows",
        word="rows * depth bytes",
        geometry=lambda c: _split(c.act_words, c.rows * c.depth * 8, min(c.lanes * 8, 64)),
        readers=("array",),
        writers=("drain", "norm", "loader"),
        beat=lambda c: c.lanes * 8,
    ),
    Memory(
        name="KV",
        capacity="kv_words",
        holds="K as it is, V transposed (by write steering alone)",
        word="cols * depth bytes",
        geometry=lambda c: _split(c.kv_words, c.cols * c.depth * 8, 8),
        readers=("array",),
        writers=("drain",),
    ),
    Memory(
        name="RES",
        target=Target.RES,
        capacity="res_words",
        holds="residual stream, position table, results",
        word="rows * drain_columns int16",
        geometry=lambda c: _split(c.res_words, c.lanes * 16, 64),
        readers=("drain", "norm", "store"),
        writers=("drain", "norm", "loader"),
        beat=lambda c: c.lanes * 16,
    ),
    Memory(
        name="CHAN",
        target=Target.CHAN,
        capacity="chan_words",
        holds="bias, multiplier, shift and activation bank of each output channel",
        word="drain_columns parameter sets of 64 bits",
        geometry=lambda c: _split(c.chan_words, c.drain_columns * 64, 64),
        used=54,
        readers=("drain",),
        writers=("loader",),
    ),
    Memory(
        name="NORM",
        target=Target.NORM,
        capacity="norm_words",
        holds="LayerNorm's gamma and beta",
        word="drain_columns parameter sets of 64 bits",
        geometry=lambda c: _split(c.norm_words, c.drain_columns * 64, 64),
        used=48,
        readers=("norm",),
        writers=("loader",),
    ),
    Memory(
        name="HEAD",
        target=Target.HEAD,
        capacity="head_words",
        fit_step=16,
        holds="softmax constants of each head of each layer",
        word="64 bits",
        geometry=lambda c: _split(c.head_words, 64, 64),
        used=44,
        readers=("softmax",),
        writers=("loader",),
    ),
    Memory(
        name="TABLE",
        target=Target.TABLE,
        capacity="tables",
        fit_step=1,
        holds="activation tables, or I-BERT's constants",
        word="1 byte (gelu = table) or 64 bits (ibert)",
        geometry=lambda c: _split(c.tables * TABLE_ENTRIES, 8, 8) if c.gelu == "table" else _split(c.tables, 64, 64),
        within="activation",
        copies=lambda c: c.lanes if c.gelu == "table" else 1,
        readers=("drain",),
        writers=("loader",),
    ),
    Memory(
        name="PROG",
        target=Target.PROG,
        capacity="prog_words",
        holds="the program",
        word="64 bits",
        geometry=lambda c: _split(c.prog_words, 64, 64),
        readers=("sequencer",),
        writers=("loader",),
    ),
    Memory(
        name="REGION",
        target=Target.REGION,
        holds="what an input must look like: one register",
        word="64 bits",
        geometry=lambda c: _split(1, 64, 64),
        within="loader",
        copies=lambda c: 0,
        readers=("loader", "guard"),
        writers=("loader",),
    ),
    Memory(
        name="PROB",
        holds="ring of row blocks of exponentials",
        word="rows * depth bytes",
        geometry=lambda c: _split(_ring(c, c.key_words), c.rows * c.depth * 8, c.lanes * 8),
        readers=("array",),
        writers=("softmax",),
        beat=lambda c: c.lanes * 8,
    ),
    Memory(
        name="SCORE",
        holds="ring of row blocks of raw scores",
        word="rows * drain_columns sums of 24 bits",
        geometry=lambda c: _split(_ring(c, c.key_words * c.word_beats), c.lanes * SCORE_BITS, c.lanes * SCORE_BITS),
        readers=("softmax",),
        writers=("drain",),
        beat=lambda c: c.lanes * SCORE_BITS,
    ),
)

MEMORIES = {memory.name: memory for memory in _TABLE}
"""Every memory by its name."""

CORE_MEMORIES = tuple(memory for memory in _TABLE if not memory.within)
"""Those that are instances of :class:`hw.memory.TensorMemory` in the core."""

LOADABLE = {
    memory.target: memory
    for memory in sorted(_TABLE, key=lambda memory: memory.target.value if memory.target else 0)
    if memory.target
}
"""Every memory that load packets and images can fill, in order of targets."""
