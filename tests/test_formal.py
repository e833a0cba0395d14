# SPDX-License-Identifier: Apache-2.0
"""Bounded proofs. Each comes with a cover that must be reached and with broken devices that it must reject."""

import pytest
from amaranth.hdl import Array, Assert, Assume, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.requantise import Requantiser, RoundingShifter
from hw.program.semaphores import CommandGate, SemaphoreBank
from hw.stream import StreamBuffer
from sim.formal import Disproved, prove

# ----- stream buffer -----


class KeepsEveryWord(wiring.Component):
    """What comes out is what went in: the same words, in order, none lost, none invented, at most two in between.

    ``chosen`` picks, once, the number of any word; that word must come out as the one of the same number. An offered
    word stays until it is taken.
    """

    valid: In(1)
    payload: In(3)
    ready: In(1)
    chosen: In(4)

    def __init__(self, dut):
        self._dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        taken, given, chosen, word = Signal(4), Signal(4), Signal(4), Signal(3)
        started, waiting, offered = Signal(), Signal(), Signal(3)
        m.d.comb += [
            dut.i.valid.eq(self.valid & started),
            dut.i.payload.eq(self.payload),
            dut.o.ready.eq(self.ready),
            Assert(taken - given <= 2),
            Assert(dut.o.valid == (taken != given)),
            Assert(~waiting | (dut.o.valid & (dut.o.payload == offered))),
            Cover((given == 3) & (taken == 5)),
        ]
        m.d.sync += [started.eq(1), waiting.eq(dut.o.valid & ~dut.o.ready), offered.eq(dut.o.payload)]
        with m.If(~started):
            m.d.sync += chosen.eq(self.chosen)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += taken.eq(taken + 1)
            with m.If(taken == chosen):
                m.d.sync += word.eq(dut.i.payload)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += given.eq(given + 1)
            with m.If(given == chosen):
                m.d.comb += Assert(dut.o.payload == word)
        return m


class FaultyBuffer(wiring.Component):
    """A StreamBuffer with a rare fault."""

    i: In(stream.Signature(3))
    o: Out(stream.Signature(3))

    def __init__(self, fault):
        self._fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.good = good = StreamBuffer(3)
        wiring.connect(m, wiring.flipped(self.i), good.i)
        wiring.connect(m, wiring.flipped(self.o), good.o)
        count = Signal(4)
        m.d.sync += count.eq(count + (good.o.valid & good.o.ready))
        with m.If((count == 3) & good.o.valid):
            match self._fault:
                case "swallows a word":
                    m.d.comb += [self.o.valid.eq(0), good.o.ready.eq(1)]
                case "gives a word twice":
                    again = Signal()
                    m.d.sync += again.eq(self.o.ready)
                    m.d.comb += good.o.ready.eq(self.o.ready & again)
                case "changes a word":
                    m.d.comb += self.o.payload.eq(good.o.payload ^ 1)
        return m


def test_stream_buffer_keeps_every_word():
    faults = ("swallows a word", "gives a word twice", "changes a word")
    mutants = {fault: KeepsEveryWord(FaultyBuffer(fault)) for fault in faults}
    prove(KeepsEveryWord(StreamBuffer(3)), mutants=mutants, depth=12)


# ----- ping-pong handoff -----


class Command(data.Struct):
    wait: 2


class Handoff(wiring.Component):
    """Two engines with command gates hand row blocks on through a ring of slots, as scores and probabilities are.

    The producer waits for FREE and signals FULL, the consumer the other way round. Commands come, engines start and
    end at any time. The producer spoils its slot from its start on and leaves the result at its end; the consumer may
    look from its start to its end, and must see, as its n-th result, the n-th that was produced.
    """

    command: In(2)  # offered to the producer's and the consumer's gate
    ready: In(2)
    done: In(2)
    word: In(2)
    chosen: In(4)

    def __init__(self, *, slots=2, free=None, full=0, waits=True, signals_early=False):
        self._slots, self._free, self._full = slots, slots if free is None else free, full
        self._waits, self._signals_early = waits, signals_early
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = SemaphoreBank(initial=[self._free, self._full], signallers=2, takers=2)
        starts, ends, busies = [], [], []
        for engine, (wait, signal) in enumerate([(0b01, 0b10), (0b10, 0b01)]):
            m.submodules[f"gate{engine}"] = gate = CommandGate(shape=Command, semaphores=2)
            busy, start, end = Signal(name=f"busy{engine}"), Signal(name=f"start{engine}"), Signal(name=f"end{engine}")
            early = self._signals_early and engine == 1
            m.d.comb += [
                gate.i.valid.eq(self.command[engine]),
                gate.i.payload.wait.eq(wait if self._waits or engine == 1 else 0),
                gate.positive.eq(bank.positive),
                gate.allow.eq(1),
                bank.take[engine].eq(gate.take),
                gate.o.ready.eq(~busy & self.ready[engine]),
                start.eq(gate.o.valid & gate.o.ready),
                end.eq(busy & self.done[engine]),
                bank.signal[engine].eq(Mux(start if early else end, signal, 0)),
            ]
            m.d.sync += busy.eq((busy | start) & ~end)
            starts.append(start), ends.append(end), busies.append(busy)

        ring = Array(Signal(2, name=f"slot{i}") for i in range(self._slots))
        write, read = Signal(range(self._slots)), Signal(range(self._slots))
        produced, consumed, chosen, expected = Signal(4), Signal(4), Signal(4), Signal(2)
        first = Signal(init=1)
        m.d.sync += first.eq(0)
        with m.If(first):
            m.d.sync += chosen.eq(self.chosen)
        with m.If(starts[0] | busies[0]):
            m.d.sync += ring[write].eq(self.word)
        with m.If(ends[0]):
            m.d.sync += [produced.eq(produced + 1), write.eq(Mux(write == self._slots - 1, 0, write + 1))]
            with m.If(produced == chosen):
                m.d.sync += expected.eq(self.word)
        with m.If(ends[1]):
            m.d.sync += [consumed.eq(consumed + 1), read.eq(Mux(read == self._slots - 1, 0, read + 1))]
        with m.If(starts[1] | busies[1]):
            m.d.comb += Assert(consumed != produced)
            with m.If(consumed == chosen):
                m.d.comb += Assert(ring[read] == expected)
        m.d.comb += [
            Assert(produced - consumed + busies[0] <= self._slots),
            Cover((consumed == self._slots) & busies[0] & busies[1]),
        ]
        return m


@pytest.mark.slow
def test_ping_pong_handoff():
    mutants = {
        "a slot too many": Handoff(free=3),
        "full from the start": Handoff(full=1),
        "a producer that does not wait": Handoff(waits=False),
        "a consumer that lets go too early": Handoff(signals_early=True),
    }
    prove(Handoff(), mutants=mutants, depth=24)


# ----- requantiser -----


def rounded(m, p, shift):
    """``(p + 2^(shift-1)) >> shift`` clamped to -2^15 .. 2^15, as the formula says it."""
    wide, value, result = Signal(signed(66)), Signal(signed(66)), Signal(signed(17))
    m.d.comb += [
        wide.eq(p + (Const(1, 64) << (shift - 1)[:6])),
        value.eq(wide >> shift),
        result.eq(Mux(value > 1 << 15, 1 << 15, Mux(value < -(1 << 15), -(1 << 15), value))),
    ]
    return result


class Equals(wiring.Component):
    """``dut.value`` is what ``formula`` (given the module and the inputs) says, ``dut.LATENCY`` cycles later."""

    def __init__(self, dut, formula):
        self._dut, self._formula = dut, formula
        self._inputs = [name for name, member in dut.signature.members.items() if member.flow == In]
        super().__init__({name: In(dut.signature.members[name].shape) for name in self._inputs})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        inputs = {name: getattr(self, name) for name in self._inputs}
        m.d.comb += [getattr(dut, name).eq(value) for name, value in inputs.items()]
        expected, known = self._formula(m, **inputs), Const(1)
        for stage in range(dut.LATENCY):
            last, expected, known = (expected, known), Signal(signed(17), name=f"e{stage}"), Signal(name=f"k{stage}")
            m.d.sync += [expected.eq(last[0]), known.eq(last[1])]
        with m.If(known):
            m.d.comb += [Assert(dut.value == expected), Cover(dut.value == 77), Cover(dut.value == -(1 << 15))]
        return m


class Tampered(wiring.Component):
    """A device some of whose ports show something else."""

    def __init__(self, good, **changes):
        self._good, self._changes, self.LATENCY = good, changes, good.LATENCY
        super().__init__(good.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.good = self._good
        for name, member in self.signature.members.items():
            mine, its = getattr(self, name), getattr(self._good, name)
            source, target = (mine, its) if member.flow == In else (its, mine)
            m.d.comb += target.eq(self._changes.get(name, lambda value: value)(source))
        return m


def test_rounding_shifter_equals_its_formula():
    """For every product of 48 bits and every shift."""

    def formula(m, p, amount):
        m.d.comb += Assume(amount <= 62)
        return rounded(m, p, amount + 1)

    def device():
        return RoundingShifter(width=48)

    mutants = {
        "rounds half down": Equals(Tampered(device(), p=lambda p: p - 1), formula),
        "takes another shift": Equals(Tampered(device(), amount=lambda a: Mux(a == 45, 44, a)), formula),
        "saturates early": Equals(Tampered(device(), value=lambda v: Mux(v == 1 << 15, v - 1, v)), formula),
    }
    prove(Equals(device(), formula), mutants=mutants, depth=RoundingShifter.LATENCY + 2)


# A stand-in for the DSP block: an easy function of its operands instead of their product, which no solver gets through.
NO_PRODUCT = """
module rtlformer_mul(input clk, input signed [17:0] a, input signed [17:0] b, output signed [35:0] p);
  reg signed [35:0] q, r;
  always @(posedge clk) begin q <= a + (b <<< 15); r <= q; end
  assign p = r;
endmodule
"""


@pytest.mark.slow
def test_requantiser_equals_its_formula():
    """For all operands, any function taking the place of the products of two DSP blocks.

    With x * y in that place, low * mult + high * mult * 2^17 is (acc + bias) * mult. The multiplier's own Verilog is
    ``a * b``; its equality with the vendor's block is a matter of the netlist simulation.
    """

    def block(x, y):
        return x + (y << 15)

    def formula(m, acc, bias, mult, shift):
        total, p = Signal(signed(33)), Signal(signed(48))
        low_product = block(total[:17], mult)[:33]
        high_product = block(total[17:32].as_signed(), mult)[:31].as_signed()
        m.d.comb += [
            total.eq(acc + bias),
            Assume(total[31] == total[32]),
            Assume(shift != 0),
            p.eq(low_product + (high_product << 17)),
        ]
        return rounded(m, p, shift)

    def device():
        return Requantiser(acc_bits=28)

    mutants = {
        "drops a bias": Equals(Tampered(device(), bias=lambda b: Mux(b == -1, 0, b)), formula),
        "takes another shift": Equals(Tampered(device(), shift=lambda s: Mux(s == 46, 45, s)), formula),
        "takes another factor": Equals(Tampered(device(), mult=lambda f: f | (f == 65534)), formula),
    }
    depth = Requantiser.LATENCY + 2
    prove(Equals(device(), formula), mutants=mutants, depth=depth, cells={"rtlformer_mul": NO_PRODUCT})


# ----- the prover itself -----


def test_what_would_prove_nothing_is_refused():
    good = KeepsEveryWord(StreamBuffer(3))
    with pytest.raises(ValueError, match="at least one mutant"):
        prove(good, mutants={}, depth=8)
    with pytest.raises(Disproved, match="a cover is not reached"):
        prove(good, mutants={"any": good}, depth=3)
    with pytest.raises(Disproved, match="the mutant 'none' is not rejected"):
        prove(good, mutants={"none": KeepsEveryWord(StreamBuffer(3))}, depth=9)
    with pytest.raises(Disproved, match="the property does not hold"):
        prove(KeepsEveryWord(FaultyBuffer("changes a word")), mutants={"any": good}, depth=9)
