# SPDX-License-Identifier: Apache-2.0
"""The softmax engine equals golden, for every shape of beat, both kernels, and padded keys."""

from dataclasses import asdict

import pytest

from hw.config import CoreConfig
from hw.softmax.softmax import SoftmaxEngine
from sim.runner import run_cocotb

CONFIGS = {
    "4x4x8": (CoreConfig(rows=4, cols=4, depth=8, max_tokens=40), [1, 17, 40]),
    "1x16x8": (CoreConfig(rows=1, cols=16, depth=8, drain_columns=4, max_tokens=50, exp="ibert"), [1, 13, 50]),
    "8x8x16": (CoreConfig(rows=8, cols=8, depth=16, drain_columns=2, max_tokens=64, slots=2), [1, 33, 64]),
    "2x2x4": (CoreConfig(rows=2, cols=2, depth=4, max_tokens=23, slots=8, head_words=12), [1, 7, 20, 23]),
    "1x8x8": (CoreConfig(rows=1, cols=8, depth=8, drain_columns=8, max_tokens=8), [1, 5, 8]),  # one beat in all
}


@pytest.mark.parametrize("name", CONFIGS)
def test_softmax(name):
    config, tokens = CONFIGS[name]
    run_cocotb(SoftmaxEngine(config), "sim.tb.tb_softmax", config=asdict(config), tokens=tokens)
