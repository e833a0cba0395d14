# SPDX-License-Identifier: Apache-2.0
"""hw/program/sequencer.py with hw/program/fetch.py."""

import pytest

from hw.config import CoreConfig
from hw.program.sequencer import Sequencer
from sim.runner import run_cocotb


@pytest.mark.parametrize(
    ("words", "programs", "stalls"),
    [(64, 40, [0.2, 0.2, 0.2, 0.2]), (512, 6, [0.9, 0.0, 0.5, 0.2]), (300, 8, [0.0, 0.8, 0.1, 0.9])],
)
def test_sequencer(words, programs, stalls):
    config = CoreConfig(rows=4, cols=4, depth=8, prog_words=words)
    parameters = {"words": words, "programs": programs, "stalls": stalls, "address_bits": config.address_bits}
    run_cocotb(Sequencer(config), "sim.tb.tb_sequencer", **parameters)
