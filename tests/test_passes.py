# SPDX-License-Identifier: Apache-2.0
"""hw/io/passes.py."""

import pytest

from hw.config import CoreConfig
from hw.io.passes import PassGuard
from sim.runner import run_cocotb


@pytest.mark.parametrize("tokens", [17, 32, 40])
def test_passes(tokens):
    config = CoreConfig(rows=2, cols=4, depth=8, max_tokens=32)
    sizes = [config.rows, config.cols, config.depth]
    run_cocotb(PassGuard(config), "sim.tb.tb_passes", tokens=tokens, max_tokens=config.max_tokens, sizes=sizes)
