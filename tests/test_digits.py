# SPDX-License-Identifier: Apache-2.0
"""The bundled digits model, whole, on its generated Verilog: the bars of exactness and accuracy."""

from pathlib import Path

import numpy as np
import pytest

from gen.emit.verilog import TOP, emit_core
from gen.model.checkpoint import read_checkpoint
from gen.model.quantize import integer_inputs, quantise
from gen.program.compiler import compile_model
from gen.program.tensors import differences
from gen.simulate.session import Session
from hw.config import preset
from sim.reference import forward

EXAMPLE = Path(__file__).parent.parent / "examples" / "digits"


@pytest.fixture(scope="module")
def digits():
    checkpoint = read_checkpoint(EXAMPLE / "checkpoint")
    model = quantise(checkpoint, np.load(EXAMPLE / "calibration.npy"))
    return model, integer_inputs(checkpoint, model, np.load(EXAMPLE / "test_images.npy"))


@pytest.fixture(scope="module")
def image(digits):
    return compile_model(digits[0], preset("edge"))


@pytest.mark.slow
def test_whole_test_split_on_the_verilog(digits, image):
    """Every logit of every test image, streamed back to back; then every intermediate tensor of eight images."""
    model, inputs = digits
    assert len(inputs) >= 360
    verilog = emit_core(image.config, {target: list(words) for target, words in image.memories.items()})
    expected = np.stack([forward(model, x)["output"] for x in inputs])
    with Session(image, verilog, top=TOP, load=False) as session:
        results, _ = session.stream(inputs)
    assert (results == expected).all()

    labels = np.load(EXAMPLE / "test_labels.npy")
    float_logits = np.load(EXAMPLE / "test_logits.npy")
    accuracy, float_accuracy = (np.mean(logits.argmax(-1) == labels) for logits in (results, float_logits))
    assert accuracy >= float_accuracy - 0.005
    assert float_accuracy >= 0.985
    error = results * model.scales["logits"] - float_logits
    assert np.sqrt(np.mean(error**2)) <= 0.03 * float_logits.std()

    with Session(image, verilog, top=TOP, load=False, trace=True) as session:
        for x in inputs[:8]:
            session.run(x)
            tensors = session.tensors(len(x))
            assert {"embedding", "layer0.exp", "layer1.hidden", "final_norm", "output"} <= tensors.keys()
            assert not differences(tensors, forward(model, x))
