# SPDX-License-Identifier: SHL-2.1
"""What runs between the parts of a core: memory ports, row scales, row maxima, loads and probes.

Each Signature is seen from the component that asks: a reader has ``Out(ReadPort(...))``, the memory the flipped one.
"""

from collections.abc import Iterable

from amaranth.hdl import Module, Shape, ShapeLike, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out, Signature

from .config import CoreConfig
from .memories import CORE_MEMORIES, MEMORIES, SCORE_BITS, Target
from .program.isa import ADDRESS_BITS

__all__ = [
    "ROW_SCALE", "LoadPort", "Probe", "ReadPort", "RowMaxima", "RowScales", "WritePort",
    "client_ports", "forward", "read_port", "write_port",
]  # fmt: skip

ROW_SCALE = data.StructLayout({"mult": 16, "shift": 6})
"""A row's requantisation constants, which divide by its sum of exponentials."""


class ReadPort(Signature):
    """Reads of one memory by one component.

    Members
    -------
    addr : out, unsigned(ADDRESS_BITS)
        Word address.
    data : in, ``shape``
        That word, :data:`hw.memory.READ_LATENCY` cycles later, every cycle.
    valid, ready : out, in
        Only where the port is ``shared``: ``addr`` is a read, and is accepted. Data come
        :data:`hw.memory.SHARED_READ_LATENCY` cycles after acceptance. The first reader is always accepted.
    next : out
        Likewise: what ``valid`` will be in the next cycle. The last reader waits for this of the others, as it is far.
    """

    def __init__(self, shape: ShapeLike, *, shared: bool = False):
        choice = {"valid": Out(1), "next": Out(1), "ready": In(1)} if shared else {}
        super().__init__({**choice, "addr": Out(ADDRESS_BITS), "data": In(shape)})


class WritePort(Signature):
    """Writes to one memory by one component; it takes place :data:`hw.memory.WRITE_LATENCY` cycles later.

    Members
    -------
    en : out, unsigned(lanes)
        Parts of ``data`` to be written.
    addr : out, unsigned(ADDRESS_BITS)
        In units of ``data``, whether these are words or beats of a word.
    data : out, ``shape``
    ready : in
        Only where the port is ``shared``: the write is accepted. The first writer is always accepted.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int = 1, shared: bool = False):
        choice = {"ready": In(1)} if shared else {}
        super().__init__({"en": Out(lanes), **choice, "addr": Out(ADDRESS_BITS), "data": Out(shape)})


def read_port(name: str, config: CoreConfig, shape: ShapeLike | None = None) -> ReadPort:
    """Port of a reader of memory ``name``; ``shape`` gives a word's bits a meaning."""
    memory = MEMORIES[name]
    bits = memory.geometry(config).bits
    return ReadPort(_word(name, shape, bits), shared=len(memory.readers) > 1)


def write_port(name: str, config: CoreConfig, shape: ShapeLike | None = None) -> WritePort:
    """Port of an engine that writes memory ``name``: a beat, or a whole word with an enable for each lane."""
    memory = MEMORIES[name]
    geometry = memory.geometry(config)
    bits, lanes = (memory.beat(config), 1) if memory.beat else (geometry.bits, geometry.lanes)
    return WritePort(_word(name, shape, bits), lanes=lanes, shared=len(memory.writers) > 1)


def _word(name: str, shape: ShapeLike | None, bits: int) -> ShapeLike:
    if shape is None:
        return unsigned(bits)
    if Shape.cast(shape).width != bits:
        raise ValueError(f"a port of {name} must have {bits} bits, not {Shape.cast(shape).width}")
    return shape


class LoadPort(Signature):
    """Writes of the loader: each of 64 bits, held until it is accepted.

    Members
    -------
    valid, ready : out, in
    target : out, Target
        The memory.
    addr : out, unsigned(24)
        In 64-bit units of that memory; whole words where a word is narrower.
    data : out, unsigned(64)
    """

    def __init__(self):
        super().__init__(
            {"valid": Out(1), "ready": In(1), "target": Out(Target), "addr": Out(24), "data": Out(64)},
        )


class RowScales(Signature):
    """Row scales from the softmax, which the drain keeps: one row's in a cycle.

    Members
    -------
    valid : out
        A row scale is written.
    slot : out, range(slots)
        Slot of the probability ring.
    row : out, range(rows)
    scale : out, ROW_SCALE
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "valid": Out(1),
                "slot": Out(range(config.slots)),
                "row": Out(range(max(config.rows, 2))),
                "scale": Out(ROW_SCALE),
            }
        )


class RowMaxima(Signature):
    """Maxima of the scores, which the drain keeps for the softmax.

    Members
    -------
    slot : out, range(slots)
        Slot of the score ring.
    maxima : in, [rows] of signed(SCORE_BITS)
        That slot's, in the same cycle.
    """

    def __init__(self, config: CoreConfig):
        maxima = data.ArrayLayout(signed(SCORE_BITS), config.rows)
        super().__init__({"slot": Out(range(config.slots)), "maxima": In(maxima)})


class Probe(Signature):
    """Results for simulators to log; hardware does not use them.

    Members
    -------
    valid : out
    data : out, ``shape``
        One beat.
    """

    def __init__(self, shape: ShapeLike):
        super().__init__({"valid": Out(1), "data": Out(shape)})


def forward(m: Module, outer: wiring.Component, inner: wiring.Component, names: Iterable[str]) -> None:
    """Joins members of the same names of a component and of one inside it."""
    for name in names:
        member, out, within = inner.signature.members[name], getattr(outer, name), getattr(inner, name)
        if member.is_signature:
            wiring.connect(m, wiring.flipped(out), within)
        elif member.flow == In:
            m.d.comb += within.eq(out)
        else:
            m.d.comb += out.eq(within)


def client_ports(config: CoreConfig, *clients: str) -> dict[str, Member]:
    """Ports of these components on the core's memories, as the table says: ``norm_read_res``, ``drain_write_kv`` ..."""
    found: dict[str, Member] = {}
    for memory in CORE_MEMORIES:
        name = memory.name.lower()
        for client in clients:
            if client in memory.readers:
                found[f"{client}_read_{name}"] = Out(read_port(memory.name, config))
            if client in memory.writers:
                found[f"{client}_write_{name}"] = Out(write_port(memory.name, config))
    return found
