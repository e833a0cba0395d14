# SPDX-License-Identifier: Apache-2.0
"""hw/program/semaphores.py."""

import gc

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.program.commands import StoreCommand
from hw.program.isa import SEMAPHORE_INITIAL, SEMAPHORES
from hw.program.semaphores import COUNT_BITS, CommandGate, SemaphoreBank
from sim.runner import run_cocotb


class GatedEngines(wiring.Component):
    """A bank with a gate for each of its takers, as in :class:`hw.core.TransformerCore`."""

    def __init__(self, *, initial: list[int], signallers: int, engines: int):
        self.engines = engines
        self.bank = SemaphoreBank(initial=initial, signallers=signallers, takers=engines)
        ports = {"signal": self.bank.signature.members["signal"], "allow": In(engines), "passed": Out(engines)}
        for number in range(engines):
            ports[f"i{number}"] = In(stream.Signature(StoreCommand))
            ports[f"o{number}"] = Out(stream.Signature(StoreCommand))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = self.bank
        m.d.comb += bank.signal.eq(self.signal)
        for number in range(self.engines):
            gate = CommandGate(shape=StoreCommand, semaphores=len(bank.initial))
            m.submodules[f"gate{number}"] = gate
            wiring.connect(m, wiring.flipped(getattr(self, f"i{number}")), gate.i)
            wiring.connect(m, gate.o, wiring.flipped(getattr(self, f"o{number}")))
            m.d.comb += [
                gate.positive.eq(bank.positive),
                bank.take[number].eq(gate.take),
                gate.allow.eq(self.allow[number]),
                self.passed[number].eq(gate.passed),
            ]
        return m


INITIAL = [SEMAPHORE_INITIAL(4).get(bit, 0) for bit in range(SEMAPHORES)]


@pytest.mark.parametrize(("initial", "signallers", "takers"), [([0], 1, 1), ([0, 1, 2, 1000], 3, 2), (INITIAL, 6, 5)])
def test_bank(initial, signallers, takers):
    bank = SemaphoreBank(initial=initial, signallers=signallers, takers=takers)
    run_cocotb(bank, "sim.tb.tb_semaphores", testcase="counts", initial=initial, signallers=signallers, takers=takers)


@pytest.mark.parametrize(("initial", "signallers", "engines"), [([1], 1, 1), ([0, 3, 0, 1], 2, 2), (INITIAL, 6, 4)])
@pytest.mark.parametrize("testcase", ["commands_wait_for_their_semaphores", "passes_at_its_pace"])
def test_gates(initial, signallers, engines, testcase):
    bench = GatedEngines(initial=initial, signallers=signallers, engines=engines)
    shape = {"initial": initial, "signallers": signallers, "engines": engines}
    run_cocotb(bench, "sim.tb.tb_semaphores", testcase=testcase, **shape)


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
@pytest.mark.parametrize("count", [-1, 1 << COUNT_BITS])
def test_refuses_a_count_that_does_not_fit(count):
    with pytest.raises(
        ValueError, match=rf"Initial counts must lie in 0\.\.{(1 << COUNT_BITS) - 1}, not \[1, {count}\]"
    ):
        SemaphoreBank(initial=[1, count], signallers=1, takers=1)
    gc.collect()
