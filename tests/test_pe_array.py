# SPDX-License-Identifier: Apache-2.0
"""hw/array/pe_array.py."""

import pytest

from hw.array.pe_array import PEArray
from hw.config import CoreConfig
from sim.runner import run_cocotb


@pytest.mark.parametrize(("rows", "cols", "depth"), [(2, 2, 4), (4, 4, 8), (1, 16, 8), (2, 4, 16)])
def test_equals_golden(rows, cols, depth):
    array = PEArray(CoreConfig(rows=rows, cols=cols, depth=depth))
    run_cocotb(array, "sim.tb.tb_pe_array", rows=rows, cols=cols, depth=depth, latency=PEArray.latency(array.config))
