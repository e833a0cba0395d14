# SPDX-License-Identifier: Apache-2.0
"""hw/drain/activation.py."""

import math

import numpy as np
import pytest

from hw import structs
from hw.config import CoreConfig
from hw.drain.activation import ActivationUnit
from hw.program.loads import GeluParameters
from hw.verilog import to_verilog
from sim.runner import run_cocotb

SHAPES = [
    {"rows": 4, "cols": 4, "depth": 8, "tables": 4},
    {"rows": 1, "cols": 16, "depth": 8, "drain_columns": 4, "tables": 1},
    {"rows": 2, "cols": 4, "depth": 16, "drain_columns": 2, "tables": 5},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gelu", ["table", "ibert"])
def test_equals_golden(shape, gelu):
    config = CoreConfig(**shape, gelu=gelu)
    init = _tables(config.tables) if gelu == "table" else _polynomials(config.tables)
    design = ActivationUnit(config, init=init)
    verilog = to_verilog(design).replace("\\table ", "table_number ")  # a keyword of Verilog: no name for a top port
    run_cocotb(
        verilog,
        "sim.tb.tb_activation",
        lanes=config.lanes,
        columns=config.drain_columns,
        tables=config.tables,
        gelu=gelu,
        init=init,
        latency=ActivationUnit.latency(config),
    )


def _tables(count: int) -> list[int]:
    return np.random.default_rng(1).integers(0, 256, count * 512).tolist()


def _polynomials(count: int) -> list[int]:
    """I-BERT's constants at several input scales; and the largest operands that the fields hold."""
    entries = [{"b": 4095, "c": 0, "mult": 65535, "shift": 40}, {"b": 4095, "c": (1 << 20) - 1, "mult": 1, "shift": 24}]
    for scale in (0.01, 0.02, 0.05):
        root = scale / 1.4142
        c = -math.floor(-1 / (0.2888 * root**2))
        entries.append({"b": -math.floor(-1.769 / root), "c": c, "mult": 40000, "shift": 17 + c.bit_length() - 1})
    return [structs.pack(GeluParameters, entry) for entry in entries[-count:]]
