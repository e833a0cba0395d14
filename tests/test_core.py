# SPDX-License-Identifier: Apache-2.0
"""The whole core in cocotb: models loaded over the stream, several inputs back to back."""

import numpy as np
import pytest

from gen.emit.verilog import TOP, emit_core
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from hw.config import CoreConfig
from sim.reference import forward
from sim.runner import run_cocotb

CORES = {
    "2x2x4": {"rows": 2, "cols": 2, "depth": 4, "kv_words": 1024},
    "4x4x8": {"rows": 4, "cols": 4, "depth": 8, "exp": "ibert", "gelu": "ibert"},
    "1x16x8": {"rows": 1, "cols": 16, "depth": 8, "drain_columns": 4, "max_tokens": 8},
}
MODELS = {
    "2x2x4": {"hidden": 16, "heads": 2, "tokens": 9, "pixels": 6, "classes": 5, "ffn": 24},
    "4x4x8": {"hidden": 20, "heads": 2, "head_dim": 12, "tokens": 9, "norm": "post", "ffn": 40},
    "1x16x8": {"hidden": 32, "heads": 2, "tokens": 7, "layers": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("array", CORES)
def test_core(array, tmp_path):
    config = CoreConfig(**{"max_tokens": 16, "max_hidden": 64, "w_words": 2048, "act_words": 512, **CORES[array]})
    model = random_model(**MODELS[array], exp=config.exp, gelu=config.gelu, seed=5)
    image = compile_model(model, config)
    tokens = model.max_tokens - 2
    inputs = [random_rows(model, tokens, seed=seed) for seed in range(3)]
    work, results = tmp_path / "work.npz", tmp_path / "results.npy"
    np.savez(
        work,
        tokens=tokens,
        frames=len(inputs),
        words=image.output_words(tokens),
        model=np.concatenate(image.load_packets()),
        inputs=np.concatenate([image.input_packet(x) for x in inputs]),
    )
    run_cocotb(emit_core(config), "sim.tb.tb_core", top=TOP, work=str(work), results=str(results), stall=0.3)
    for x, words in zip(inputs, np.load(results), strict=True):
        assert (image.decode_output(words, tokens) == forward(model, x)["output"]).all()
