# SPDX-License-Identifier: Apache-2.0
"""hw/norm/layernorm.py, with hw/norm/statistics.py and hw/norm/lane.py."""

from dataclasses import asdict

import pytest

from hw.config import CoreConfig
from hw.norm.layernorm import NormEngine
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ({"rows": 4, "cols": 4, "depth": 8, "max_hidden": 256}, [1, 12, 36, 64]),
        ({"rows": 1, "cols": 16, "depth": 8, "drain_columns": 4, "max_hidden": 64}, [1, 2, 12, 50]),
        pytest.param(
            {"rows": 8, "cols": 8, "depth": 16, "drain_columns": 2, "max_hidden": 512},
            [33, 50, 512],
            marks=pytest.mark.slow,
        ),
        pytest.param({"rows": 2, "cols": 4, "depth": 16, "max_hidden": 1024}, [5, 50, 1024], marks=pytest.mark.slow),
    ],
)
def test_equals_golden(shape, channels):
    config = CoreConfig(**shape)
    cycles = []
    for count in channels:
        beats = -(-count // config.drain_columns)
        following = NormEngine.next_cycles(config, beats)
        cycles += [(count, passes, NormEngine.cycles(config, beats, passes), following) for passes in (1, 2)]
    run_cocotb(
        NormEngine(config), "sim.tb.tb_layernorm", config=asdict(config), channels=channels, commands=20, cycles=cycles
    )
