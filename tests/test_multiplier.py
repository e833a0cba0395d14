# SPDX-License-Identifier: Apache-2.0
"""Multipliers are exact for every shape of operand."""

import gc

import pytest
from amaranth.hdl import signed, unsigned

from hw.arith.multiplier import Multiplier, WideMultiplier
from sim.runner import run_cocotb

BENCH = "sim.tb.tb_multiplier"


def run(design, a, b):
    run_cocotb(design, BENCH, a=(a.width, a.signed), b=(b.width, b.signed), latency=type(design).LATENCY)


@pytest.mark.parametrize(("a", "b"), [(signed(18), signed(18)), (unsigned(17), unsigned(17)), (signed(9), unsigned(8))])
def test_multiplier(a, b):
    run(Multiplier(a=a, b=b), a, b)


@pytest.mark.parametrize(
    ("a", "b", "high_dsp"),
    [
        (unsigned(24), unsigned(16), False),
        (signed(32), unsigned(16), True),
        (signed(32), unsigned(16), False),
        (signed(35), signed(18), True),
        (unsigned(34), signed(18), False),
        (signed(18), signed(2), False),
    ],
)
def test_wide_multiplier(a, b, high_dsp):
    run(WideMultiplier(a=a, b=b, high_dsp=high_dsp), a, b)


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
def test_multipliers_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"operand a must fit signed\(18\), not unsigned\(18\)"):
        Multiplier(a=unsigned(18), b=signed(8))
    with pytest.raises(ValueError, match=r"operand b must fit signed\(18\), not signed\(19\)"):
        Multiplier(a=signed(8), b=signed(19))
    with pytest.raises(ValueError, match=r"operand a must have 18 to 35 bits, not signed\(36\)"):
        WideMultiplier(a=signed(36), b=signed(8))
    with pytest.raises(ValueError, match=r"operand a must have 18 to 35 bits, not unsigned\(17\)"):
        WideMultiplier(a=unsigned(17), b=signed(8))
    gc.collect()
