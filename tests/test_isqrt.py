# SPDX-License-Identifier: Apache-2.0
"""hw/arith/isqrt.py."""

import pytest

from hw.arith.isqrt import ISqrt
from sim.runner import run_cocotb


@pytest.mark.parametrize(("low", "high"), [(1 << 30, 1 << 32), (0, 1 << 32), (0, 1 << 10)])
def test_equals_golden(low, high):
    run_cocotb(ISqrt(), "sim.tb.tb_isqrt", low=low, high=high, latency=ISqrt.LATENCY)
