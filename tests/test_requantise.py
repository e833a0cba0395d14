# SPDX-License-Identifier: Apache-2.0
"""hw/arith/requantise.py."""

import gc
import re

import pytest

from hw.arith.requantise import Requantiser, RoundingShifter
from sim.runner import run_cocotb


@pytest.mark.parametrize(("acc_bits", "high_dsp"), [(20, True), (24, False), (28, True)])
def test_equals_golden(acc_bits, high_dsp):
    design = Requantiser(acc_bits=acc_bits, high_dsp=high_dsp)
    run_cocotb(design, "sim.tb.tb_requantise", acc_bits=acc_bits, high_dsp=high_dsp, latency=Requantiser.LATENCY)


@pytest.mark.filterwarnings("ignore:.*created but never used")  # Amaranth's, of the component that was refused
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Requantiser(acc_bits=1), "acc_bits must lie in 2..28, not 1"),
        (lambda: Requantiser(acc_bits=29), "acc_bits must lie in 2..28, not 29"),
        (lambda: RoundingShifter(width=17), "width must lie in 18..64, not 17"),
        (lambda: RoundingShifter(width=48, max_amount=63), "max_amount must lie in 8..62, not 63"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
    gc.collect()
