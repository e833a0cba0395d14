# SPDX-License-Identifier: SHL-2.1
"""The core's memories: an instance of each, who may use it when, and the loader's way in."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .memories import CORE_MEMORIES, Memory, Target
from .memory import TensorMemory
from .ports import LoadPort, client_ports

__all__ = ["MemorySystem"]


class MemorySystem(wiring.Component):
    """Every memory of :data:`hw.memories.CORE_MEMORIES`, with a port for each of its clients.

    Where several read, the first that asks gets the port, and a register holds the address that was chosen. The last
    gets it where none of the others said, a cycle before, that it would ask. Where several write, the first that does;
    the loader comes last.

    Parameters
    ----------
    config : CoreConfig
    images : dict of Target to list of int
        First words of the memories.

    Attributes
    ----------
    CLIENT_read_MEMORY, CLIENT_write_MEMORY : in
        See :func:`hw.ports.client_ports`.
    load : in
        The loader's writes. Those to what is none of these memories are accepted, and have no effect here.
    """

    def __init__(self, config: CoreConfig, images: Mapping[Target, Sequence[int]]):
        self.config, self._images = config, images
        clients = {client: None for memory in CORE_MEMORIES for client in (*memory.readers, *memory.writers)}
        ports = client_ports(config, *(client for client in clients if client != "loader"))
        super().__init__({**{name: In(port.signature) for name, port in ports.items()}, "load": In(LoadPort())})

    def elaborate(self, platform):
        m = Module()
        accepts: Value | int = 1
        for memory in reversed(CORE_MEMORIES):
            shape = memory.geometry(self.config)
            m.submodules[memory.instance] = tensor = TensorMemory(
                depth=shape.words,
                lanes=shape.lanes,
                granularity=shape.granularity,
                used=memory.used,
                dense=self.config.dense,
                init=list(self._images.get(memory.target, ())) if memory.target else [],
            )
            self._read(m, memory, tensor)
            taken = self._write(m, memory, tensor)
            if memory.target and taken is not None:
                accepts = Mux(self.load.target == memory.target, ~taken, accepts)
        m.d.comb += self.load.ready.eq(accepts)
        return m

    def _ports(self, clients: Sequence[str], verb: str, memory: Memory) -> list[wiring.PureInterface]:
        return [getattr(self, f"{client}_{verb}_{memory.name.lower()}") for client in clients if client != "loader"]

    def _read(self, m: Module, memory: Memory, tensor: TensorMemory) -> None:
        ports = self._ports(memory.readers, "read", memory)
        m.d.comb += [port.data.eq(tensor.r_data) for port in ports]
        if len(ports) == 1:
            m.d.comb += tensor.r_addr.eq(ports[0].addr)
            return
        asked: Value | int = 0
        for port in ports[:-1]:
            m.d.comb += port.ready.eq(~asked if isinstance(asked, Value) else 1)
            asked = asked | port.valid
        m.d.sync += ports[-1].ready.eq(~Cat(port.next for port in ports[:-1]).any())  # known a cycle ahead: it goes far
        address = ports[-1].addr
        for port in reversed(ports[:-1]):
            address = Mux(port.valid, port.addr, address)
        m.d.sync += tensor.r_addr.eq(address)

    def _write(self, m: Module, memory: Memory, tensor: TensorMemory) -> Value | None:
        """Returns whether an engine writes in this cycle; None if none ever does."""
        ports = self._ports(memory.writers, "write", memory)
        address, en, words = self._loaded(memory, tensor) if memory.target else (None, None, None)
        taken = None
        if ports:
            taken = Signal(name=f"{memory.name.lower()}_taken")
            by_engine = self._by_engines(m, memory, tensor, ports, taken)
            if memory.target:
                address, en, words = (
                    Mux(taken, *pair) for pair in zip(by_engine, (address, en, words), strict=True)
                )  # fmt: skip
            else:
                address, en, words = by_engine
        m.d.comb += [tensor.w_addr.eq(address), tensor.w_en.eq(en), tensor.w_data.eq(words)]
        return taken

    def _by_engines(self, m, memory: Memory, tensor: TensorMemory, ports: list, taken: Signal) -> tuple:
        """Word address, enables and data of the first engine that writes."""
        last = ports[-1]
        address, beat, asked = last.addr, last.data, last.en.any()
        for port in reversed(ports[:-1]):
            address, beat, asked = Mux(port.en, port.addr, address), Mux(port.en, port.data, beat), port.en | asked
        m.d.comb += taken.eq(asked)
        before: Value | int = 0
        if len(ports) > 1 or memory.target:
            for port in ports:
                m.d.comb += port.ready.eq(~before if isinstance(before, Value) else 1)
                before = before | port.en
        if memory.beat is None:
            return address, last.en, beat
        beats = tensor.lanes * tensor.granularity // memory.beat(self.config)
        return _placed(tensor, address, beat, beats, taken)

    def _loaded(self, memory: Memory, tensor: TensorMemory) -> tuple:
        """The same of the loader."""
        width = tensor.lanes * tensor.granularity
        chosen = self.load.valid & (self.load.target == memory.target)
        return _placed(tensor, self.load.addr, self.load.data[: min(width, 64)], max(width // 64, 1), chosen)


def _placed(tensor: TensorMemory, address: Value, part: Value, parts: int, en: Value) -> tuple[Value, Value, Value]:
    """Word address, enables and data of a write to one of ``parts`` parts of a word, at an address in parts."""
    bits, lanes = ceil_log2(parts), tensor.lanes // parts
    enables = Cat((en & (address[:bits] == number)).replicate(lanes) for number in range(parts))
    return address[bits:], enables, Value.cast(part).replicate(parts)
