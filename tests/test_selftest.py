# SPDX-License-Identifier: Apache-2.0
"""The stored self-test: the same for the same model, right, and read back whole or not at all."""

import numpy as np
import pytest
import safetensors.numpy

from gen.emit.selftest import INPUTS, make_self_test, read_self_test, write_self_test
from gen.errors import InputError
from gen.model.randommodel import random_model
from sim.reference import forward


@pytest.mark.parametrize(
    "shape", [{"classes": 3, "pixels": 4}, {"norm": "post"}, {"layers": 0}], ids=["patches", "rows", "operands"]
)
def test_it_is_what_the_golden_model_says(tmp_path, shape):
    model = random_model(hidden=8, heads=1, ffn=8, tokens=4, **shape)
    files = [tmp_path / name for name in "ab"]
    for file in files:
        write_self_test(file, make_self_test(model))
    assert files[0].read_bytes() == files[1].read_bytes()
    test = read_self_test(files[0])
    assert len(test.inputs) == len(test.results) == INPUTS and len({x.tobytes() for x in test.inputs}) == INPUTS
    for x, result in zip(test.inputs, test.results, strict=True):
        assert (forward(model, x)["output"] == result).all()


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"inputs": np.zeros((1, 2, 3), np.int16)},
        {"inputs": np.zeros((2, 3), np.int16), "results": np.zeros((2, 3), np.int16)},
        {"inputs": np.zeros((1, 2, 3), np.int16), "results": np.zeros((2, 3), np.int16)},
        {"inputs": np.zeros((1, 2, 3), np.int32), "results": np.zeros((1, 3), np.int16)},
        {"inputs": np.zeros((1, 2, 3), np.int16), "results": np.zeros((1, 3), np.int16), "x": np.zeros(1)},
    ],
)
def test_what_is_none_is_refused(tmp_path, tensors):
    path = tmp_path / "x"
    path.write_bytes(safetensors.numpy.save(tensors))
    with pytest.raises(InputError, match="x: truncated or altered .*; generate it again"):
        read_self_test(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="x: truncated or altered"):
        read_self_test(path)
    with pytest.raises(InputError, match="no: "):
        read_self_test(tmp_path / "no")
