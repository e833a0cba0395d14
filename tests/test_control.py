# SPDX-License-Identifier: Apache-2.0
"""hw/host/control.py."""

import pytest

from hw.config import CoreConfig
from hw.host.control import ControlBlock
from hw.host.registers import REGISTERS, facts, reset_value
from sim.runner import run_cocotb

MODEL = 0x0123456789ABCDEF


@pytest.mark.parametrize("config", [CoreConfig(rows=4, cols=4, depth=8, max_tokens=32)], ids=["4x4x8"])
def test_control(config):
    known = facts(config, MODEL)
    run_cocotb(
        ControlBlock(config, MODEL),
        "sim.tb.tb_control",
        reset_values={reg.name: reset_value(reg, known) for reg in REGISTERS},
        max_tokens=config.max_tokens,
        counter_bits=32,
    )


class Narrow(ControlBlock):
    """Counters of 4 bits, which wrap while one watches."""

    COUNTER_BITS = 4


def test_counters_carry():
    device = Narrow(CoreConfig(rows=4, cols=4, depth=8))
    run_cocotb(device, "sim.tb.tb_control", testcase="cycles_carry_into_the_high_half", counter_bits=4)


def test_model_hash_has_64_bits():
    with pytest.raises(ValueError, match="model_hash must have at most 64 bits, not 0x1"):
        ControlBlock(CoreConfig(rows=4, cols=4, depth=8), 1 << 64)
