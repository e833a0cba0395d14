# SPDX-License-Identifier: Apache-2.0
"""The UART of the host link."""

import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.link.uart import UartReceiver, UartTransmitter, phase_step
from sim.runner import run_cocotb


class Pair(wiring.Component):
    """A receiver and a transmitter, not connected."""

    def __init__(self, **rates: int):
        self._rates = rates
        super().__init__(
            {
                "rx": In(1),
                "valid": Out(1),
                "data": Out(8),
                "error": Out(1),
                "i": In(stream.Signature(unsigned(8))),
                "tx": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(**self._rates)
        m.submodules.transmitter = transmitter = UartTransmitter(**self._rates)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.valid.eq(receiver.valid),
            self.data.eq(receiver.data),
            self.error.eq(receiver.error),
            self.tx.eq(transmitter.tx),
        ]
        return m


@pytest.mark.parametrize(
    ("clock_hz", "baud"),
    [(48_000_000, 3_000_000), (25_000_000, 1_000_000), (100_000_000, 3_000_000), (12_000_000, 460_800)],
)
def test_uart(clock_hz, baud):
    run_cocotb(Pair(clock_hz=clock_hz, baud=baud), "sim.tb.tb_uart", clock_hz=clock_hz, baud=baud)


def test_rates():
    for clock_hz, baud in ((120_000_000, 115_200), (25_000_000, 3_000_000), (87_654_321, 921_600)):
        assert phase_step(clock_hz, baud) / (1 << 20) == pytest.approx(baud / clock_hz, rel=1e-3)
    with pytest.raises(ValueError, match=r"baud must lie in 1..clock_hz / 8 \(clock 20000000 Hz\), not 3000000"):
        phase_step(20_000_000, 3_000_000)
    with pytest.raises(ValueError, match="baud must be at least clock_hz / 10000"):
        phase_step(120_000_000, 9_600)
