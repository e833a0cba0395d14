# SPDX-License-Identifier: Apache-2.0
"""hw/host/hosted.py: a small core, the model in its memories, started and reset through its registers."""

import numpy as np
import pytest

from gen.cli.common import fitted
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from hw.config import preset
from hw.host.hosted import HostedCore
from sim.reference import forward
from sim.runner import run_cocotb


@pytest.mark.slow
def test_hosted(tmp_path):
    model = random_model(hidden=8, heads=2, ffn=16, tokens=6, classes=3, pixels=4)
    image = compile_model(model, fitted(model, preset("tiny")))
    inputs = [random_rows(model, 5, seed=seed) for seed in range(3)]
    work, results = tmp_path / "work.npz", tmp_path / "results.npy"
    packets = np.stack([image.input_packet(x) for x in inputs])
    np.savez(work, tokens=5, words=image.output_words(5), packets=packets)
    core = HostedCore(image.config, image.memories)
    run_cocotb(core, "sim.tb.tb_hosted", work=str(work), results=str(results))
    for x, words in zip(inputs, np.load(results), strict=True):
        assert (image.decode_output(words, 5) == forward(model, x)["output"]).all()
