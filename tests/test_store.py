# SPDX-License-Identifier: Apache-2.0
"""hw/io/store.py."""

import pytest

from hw.config import CoreConfig
from hw.io.store import StoreEngine
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("rows", "cols", "depth", "columns", "refuse", "sink", "source"),
    [
        (2, 2, 4, 1, 0.3, 0.3, 0.3),
        (4, 4, 8, 1, 0.0, 0.7, 0.0),
        (1, 16, 8, 1, 0.8, 0.0, 0.5),  # a quarter of a stream word
        (1, 16, 8, 4, 0.5, 0.5, 0.0),
        (8, 8, 16, 2, 0.2, 0.2, 0.9),  # four stream words a beat
    ],
)
def test_store(rows, cols, depth, columns, refuse, sink, source):
    config = CoreConfig(rows=rows, cols=cols, depth=depth, drain_columns=columns)
    stalls = {"refuse": refuse, "sink": sink, "source": source}
    run_cocotb(StoreEngine(config), "sim.tb.tb_store", lanes=rows * columns, **stalls)
