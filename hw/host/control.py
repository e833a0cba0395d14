# SPDX-License-Identifier: SHL-2.1
"""Control and status registers of a core, as hw/host/registers.py declares them."""

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..core import BUSY_BITS, ERRORS
from ..program.isa import TOKEN_BITS
from .bus import RegisterBus
from .registers import REGISTERS, Access, facts, register

__all__ = ["ControlBlock", "SETTLE_CYCLES"]

SETTLE_CYCLES = 8
"""Cycles between a change of length, or a start, and the next start; and the length of a reset of the core."""

_GROUP = 8  # registers selected among in each of the two steps of a read
_IN_FLIGHT = 15  # passes begun whose results have not left; the core's queues hold fewer


class ControlBlock(wiring.Component):
    """Registers on one side, the core's pins on the other.

    A pass is begun (``run`` for one cycle) when one is requested, the sequencer has ended the last and ``seq_len`` has
    been steady for :data:`SETTLE_CYCLES` cycles. A request made while a pass is running is kept, so passes overlap as
    far as the core lets them. A new SEQ_LEN reaches ``seq_len`` when no pass is in flight, and no pass begins before.

    Parameters
    ----------
    config : CoreConfig
    model_hash : int
        64 bits: contents of MODEL_HASH at power-up.

    Ports
    -----
    bus : slave
    run, seq_len : to the core
    core_reset : to the core and the buffers of its streams
    busy : from the core, see :data:`hw.core.BUSY_BITS`
    frame : a result's last word leaves in this cycle
    errors : from the core, each for one cycle; see :data:`hw.core.ERRORS`
    model_written, load_crc, clear_crc : of the core
    irq : interrupt, level
    """

    COUNTER_BITS = 32

    def __init__(self, config: CoreConfig, model_hash: int = 0):
        if not 0 <= model_hash < 1 << 64:
            raise ValueError(f"model_hash must have at most 64 bits, not {model_hash:#x}")
        self.config, self.model_hash = config, model_hash
        super().__init__(
            {
                "bus": In(RegisterBus()),
                "run": Out(1),
                "seq_len": Out(TOKEN_BITS, init=config.max_tokens),
                "core_reset": Out(1, init=1),
                "busy": In(len(BUSY_BITS)),
                "frame": In(1),
                "errors": In(len(ERRORS)),
                "model_written": In(1),
                "load_crc": In(32),
                "clear_crc": Out(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        live: dict[tuple[str, str], Value] = {}  # what fields that are no constants read as

        def writes(name: str) -> Signal:
            strobe = Signal(name=f"write_{name.lower()}")
            m.d.comb += strobe.eq(bus.write & (bus.addr == register(name).index))
            return strobe

        # --- CONTROL
        write_control = writes("CONTROL")
        bits = {name: Signal(name=name) for name in ("start", "reset", "clear")}
        for name, bit in bits.items():
            m.d.comb += bit.eq(write_control & bus.w_data[register("CONTROL")[name].lsb])
            live["CONTROL", name] = Const(0)
        start, reset = bits["start"] & ~bits["reset"], bits["reset"]
        clear = Signal()
        m.d.sync += clear.eq(bits["clear"])
        irq_enable = Signal()
        with m.If(write_control):
            m.d.sync += irq_enable.eq(bus.w_data[register("CONTROL")["irq_enable"].lsb])
        live["CONTROL", "irq_enable"] = irq_enable

        # --- lengths: what the host asks for, and what the core has
        settle = Signal(range(SETTLE_CYCLES), init=SETTLE_CYCLES - 1)
        settled, resettle = settle == 0, Signal()
        with m.If(resettle):
            m.d.sync += settle.eq(SETTLE_CYCLES - 1)
        with m.Elif(~settled):
            m.d.sync += settle.eq(settle - 1)
        write_length, refused_length = writes("SEQ_LEN"), Signal()
        wanted = Signal(TOKEN_BITS, init=self.config.max_tokens)
        tokens = bus.w_data[:16]
        in_range = (tokens != 0) & (tokens <= self.config.max_tokens)
        m.d.sync += refused_length.eq(write_length & ~in_range)
        with m.If(write_length & in_range):
            m.d.sync += wanted.eq(tokens)
        live["SEQ_LEN", "tokens"] = wanted

        # --- passes: requested, and in flight
        write_passes = writes("PASSES")
        requested, change_by, one_less = Signal(16), Signal(16), Signal()
        in_flight = Signal(range(_IN_FLIGHT + 1))
        frame, startable, quiet, change = Signal(), Signal(), Signal(), Signal()
        begin, total = Signal(), Signal(17)
        busy, active = Signal(len(BUSY_BITS)), Signal()  # registered once more: the core may be far away
        m.d.sync += [busy.eq(self.busy), active.eq(in_flight != 0)]
        working = busy & ~(1 << BUSY_BITS.index("loader"))  # it may hold an input for the next pass
        m.d.sync += [
            change_by.eq(Mux(begin, 0xFFFF, Mux(start, 1, Mux(write_passes, bus.w_data[:16], 0)))),
            one_less.eq(begin),
            frame.eq(self.frame),
            startable.eq(
                (requested != 0)
                & ~busy[BUSY_BITS.index("sequencer")]
                & (wanted == self.seq_len)
                & (in_flight != _IN_FLIGHT)
            ),
            change.eq((in_flight == 0) & (working == 0) & (wanted != self.seq_len)),
            quiet.eq((requested == 0) & (in_flight == 0)),  # `settled` covers a change on its way
            self.run.eq(begin),
        ]
        # Everything above that a decision rests on is a cycle old: each change makes it wait until it is true again.
        m.d.comb += [
            begin.eq(startable & settled & ~bus.write),  # what is written may be a request
            resettle.eq(begin | start | write_passes | write_length | (change & settled) | reset | self.core_reset),
            total.eq(requested + change_by),
        ]
        with m.If(change & settled):
            m.d.sync += self.seq_len.eq(wanted)
        overflow = total[16] & ~one_less
        with m.If(~overflow):
            m.d.sync += requested.eq(total)
        m.d.sync += in_flight.eq(in_flight + begin - (frame & (in_flight != 0)))
        live["PASSES", "count"] = requested

        # --- reset of the core, and STATUS
        idle, done, refused = Signal(init=1), Signal(), Signal()
        write_status = writes("STATUS")
        acknowledged = {n: write_status & bus.w_data[register("STATUS")[n].lsb] for n in ("done", "refused")}
        m.d.sync += [
            self.core_reset.eq(0),
            done.eq(frame | (done & ~acknowledged["done"])),
            refused.eq(refused_length | overflow | (refused & ~acknowledged["refused"])),
            self.irq.eq(done & irq_enable & ~acknowledged["done"]),
        ]
        with m.If(start | write_passes):
            m.d.sync += idle.eq(0)
        with m.Elif(quiet & settled):
            m.d.sync += idle.eq(1)
        resetting = Signal(range(SETTLE_CYCLES))
        with m.If(resetting != 0):
            m.d.sync += [resetting.eq(resetting - 1), self.core_reset.eq(1)]
        with m.If(reset):
            m.d.sync += [resetting.eq(SETTLE_CYCLES - 1), self.core_reset.eq(1), idle.eq(0)]
            m.d.sync += [s.eq(0) for s in (requested, change_by, startable, done, refused)]
        with m.If(reset | self.core_reset):
            m.d.sync += [s.eq(0) for s in (in_flight, frame, quiet, self.run)]
        live |= {
            ("STATUS", "busy"): busy,
            ("STATUS", "idle"): idle,
            ("STATUS", "done"): done,
            ("STATUS", "refused"): refused,
            ("STATUS", "irq"): self.irq,
        }

        self._kept(m, live, writes, reset)
        self._count(m, live, clear, {"FRAMES_DONE": frame, "ACTIVE_CYCLES": active}, busy)
        self._read(m, live)
        return m

    def _kept(self, m: Module, live: dict, writes: Callable[[str], Signal], reset: Value) -> None:
        """ERRORS, and MODEL_HASH and LOAD_CRC: these two are kept through every reset, as the memories are."""
        bus = self.bus
        errors, seen, cleared = Signal(len(ERRORS)), Signal(len(ERRORS)), Signal(len(ERRORS))
        with m.If(writes("ERRORS")):
            m.d.comb += cleared.eq(bus.w_data)
        m.d.sync += [seen.eq(self.errors), errors.eq(seen | (errors & ~cleared))]
        with m.If(reset | self.core_reset):
            m.d.sync += [seen.eq(0), errors.eq(0)]
        live |= {("ERRORS", name): errors[bit] for bit, name in enumerate(ERRORS)}
        live["STATUS", "error"] = errors.any()

        written, load_crc = Signal(), Signal(32, reset_less=True)
        m.d.sync += [written.eq(self.model_written), load_crc.eq(self.load_crc), self.clear_crc.eq(writes("LOAD_CRC"))]
        live["LOAD_CRC", "value"] = load_crc
        for half, shift in (("LO", 0), ("HI", 32)):
            part = Signal(32, init=self.model_hash >> shift & 0xFFFFFFFF, reset_less=True, name=f"model_hash_{half}")
            with m.If(writes(f"MODEL_HASH_{half}")):
                m.d.sync += part.eq(bus.w_data)
            with m.If(written):
                m.d.sync += part.eq(0)
            live[f"MODEL_HASH_{half}", "value"] = part

    def _count(self, m: Module, live: dict, clear: Signal, events: dict[str, Signal], busy: Signal) -> None:
        """The counters, each up by one in the cycles of its event."""

        def counter(name: str, event: Value) -> Signal:
            count, carry = Signal(self.COUNTER_BITS, name=name.lower()), Signal(name=f"carry_{name.lower()}")
            m.d.sync += Cat(count, carry).eq(count + event)
            with m.If(clear):
                m.d.sync += [count.eq(0), carry.eq(0)]
            live[name, "value"] = count
            return carry

        counter("CYCLES_HI", counter("CYCLES_LO", Const(1)))  # one step behind: the carry is a register
        for name, event in events.items():
            counter(name, event)
        for bit, name in enumerate(BUSY_BITS):
            counter(f"BUSY_{name.upper()}", busy[bit])

    def _read(self, m: Module, live: dict) -> None:
        """The read multiplexer, in two steps with a register after each."""
        known = facts(self.config, self.model_hash)
        words = []
        for reg in REGISTERS:
            word = Signal(32, name=f"read_{reg.name.lower()}")
            for f in reg.fields:
                constant = f.access == Access.RO and (reg.name, f.name) not in live
                value = (
                    Const(known[f.reset] if isinstance(f.reset, str) else f.reset, f.width)
                    if constant
                    else live[reg.name, f.name]
                )
                m.d.comb += word[f.lsb : f.lsb + f.width].eq(value)
            words.append(word)
        groups = []
        low = ceil_log2(_GROUP)
        for number in range(0, len(words), _GROUP):
            group = words[number : number + _GROUP]
            chosen = Signal(32, name=f"group{number // _GROUP}", reset_less=True)
            padded = group + [Const(0, 32)] * (_GROUP - len(group))
            m.d.sync += chosen.eq(Array(padded)[self.bus.addr[:low]])
            groups.append(chosen)
        select = Signal(len(self.bus.addr) - low, reset_less=True)
        m.d.sync += [select.eq(self.bus.addr[low:]), self.bus.r_data.eq(0)]
        for number, chosen in enumerate(groups):
            with m.If(select == number):
                m.d.sync += self.bus.r_data.eq(chosen)
