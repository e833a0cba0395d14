# SPDX-License-Identifier: Apache-2.0
"""hw/drain/rowmax.py."""

import pytest

from hw.config import CoreConfig
from hw.drain.rowmax import RowMaximum
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("rows", "cols", "depth", "columns", "slots"),
    [(2, 2, 4, 1, 2), (4, 4, 8, 1, 4), (1, 16, 8, 4, 8), (8, 8, 16, 2, 4), (1, 8, 8, 8, 2)],
)
def test_equals_the_maximum(rows, cols, depth, columns, slots):
    shape = {"rows": rows, "columns": columns, "slots": slots}
    config = CoreConfig(rows=rows, cols=cols, depth=depth, drain_columns=columns, slots=slots)
    run_cocotb(RowMaximum(config), "sim.tb.tb_rowmax", **shape, latency=RowMaximum.latency(config))
