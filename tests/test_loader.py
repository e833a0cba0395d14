# SPDX-License-Identifier: Apache-2.0
"""hw/io/loader.py."""

import pytest

from hw import structs
from hw.config import CoreConfig
from hw.io.loader import Loader
from hw.io.targets import stream_units
from hw.program.loads import InputRegion, Target
from sim.runner import run_cocotb

CONFIG = CoreConfig(rows=4, cols=4, depth=8, w_words=40, act_words=20, res_words=24, tables=1)


@pytest.mark.parametrize(
    ("semaphores", "source_stall", "refuse", "scarce", "begin", "row_blocks"),
    [
        (12, 0.3, 0.3, 0.9, 0.05, 3),
        (2, 0.0, 0.0, 0.0, 1.0, 1),
        (10, 0.0, 0.8, 0.5, 0.01, 4),
        (12, 0.7, 0.1, 0.99, 0.3, 2),
    ],
)
def test_loader(semaphores, source_stall, refuse, scarce, begin, row_blocks):
    fields = {"target": Target.ACT, "address": 8, "words": 5, "tokens": 14, "reserved": 0}
    region, crc = structs.pack(InputRegion, fields), 0x1234567
    given = {"semaphores": semaphores, "rows": CONFIG.rows, "region": region, "crc": crc}
    units = stream_units(CONFIG)
    run_cocotb(
        Loader(units=units, **given),
        "sim.tb.tb_loader",
        units={target.value: count for target, count in units.items()},
        source_stall=source_stall,
        refuse=refuse,
        scarce=scarce,
        begin=begin,
        row_blocks=row_blocks,
        **given,
    )
