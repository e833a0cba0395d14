# SPDX-License-Identifier: Apache-2.0
"""The IP tops, as generated for the digits model: whole images through each bus."""

from pathlib import Path

import numpy as np
import pytest

from gen.checkpoint import read_checkpoint
from gen.compiler import compile_model
from gen.cycles import predict
from gen.emit import emit_core, emit_wrapper
from gen.modelfile import content_hash
from gen.portmap import wrapper_registers
from gen.quantize import integer_inputs, quantise
from hw.config import preset
from hw.registers import facts, hash64, reset_value
from hw.wrappers import WRAPPERS
from sim.reference import forward
from sim.runner import run_cocotb

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"
IMAGES = {"axi": 3, "wishbone": 5}


@pytest.fixture(scope="module")
def digits():
    checkpoint = read_checkpoint(EXAMPLE / "checkpoint")
    model = quantise(checkpoint, np.load(EXAMPLE / "calibration.npy"))
    return model, integer_inputs(checkpoint, model, np.load(EXAMPLE / "test_images.npy")[:5])


@pytest.fixture(scope="module")
def core(digits):
    image = compile_model(digits[0], preset("edge"))
    return image, emit_core(image.config, dict(image.memories))


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRAPPERS)
def test_whole_images(kind, digits, core, tmp_path):
    """Registers, illegal accesses, and every logit of whole images under random back-pressure, against golden."""
    (model, inputs), (image, verilog) = digits, core
    inputs, tokens, model_hash = inputs[: IMAGES[kind]], image.max_tokens, hash64(content_hash(model))
    work, results = tmp_path / "work.npz", tmp_path / "results.npy"
    np.savez(
        work,
        tokens=tokens,
        words=image.output_words(tokens),
        macs=predict(image, tokens).busy["macs"],
        packets=np.stack([image.input_packet(x) for x in inputs]),
    )
    known = facts(image.config, model_hash)
    run_cocotb(
        verilog + emit_wrapper(image.config, kind, model_hash=model_hash),
        f"sim.tb.tb_{kind}",
        top=WRAPPERS[kind].TOP,
        work=str(work),
        results=str(results),
        reset_values={reg.name: reset_value(reg, known) for reg in wrapper_registers(kind)},
    )
    for x, words in zip(inputs, np.load(results), strict=True):
        assert (image.decode_output(words, tokens) == forward(model, x)["output"]).all()
