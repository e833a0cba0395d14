# SPDX-License-Identifier: Apache-2.0
"""hw/io/loader.py."""

import pytest

from hw.io.loader import Loader
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("semaphores", "source_stall", "refuse", "scarce"),
    [(12, 0.3, 0.3, 0.9), (2, 0.0, 0.0, 0.0), (10, 0.0, 0.8, 0.5), (12, 0.7, 0.1, 0.99)],
)
def test_loader(semaphores, source_stall, refuse, scarce):
    stalls = {"source_stall": source_stall, "refuse": refuse, "scarce": scarce}
    run_cocotb(Loader(semaphores=semaphores), "sim.tb.tb_loader", semaphores=semaphores, **stalls)
