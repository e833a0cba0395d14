# SPDX-License-Identifier: Apache-2.0
"""Known inputs with known results, stored with every accelerator: what a board that is in order answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from gen.errors import InputError, brief
from gen.files import read_bytes, write_bytes
from gen.model.randommodel import random_rows
from sim.golden import IntArray
from sim.qmodel import QuantModel
from sim.reference import forward

__all__ = ["FILE", "SelfTest", "make_self_test", "read_self_test", "write_self_test"]

FILE = "selftest.safetensors"
INPUTS = 4
"""Each finds about half of the wrong weight bits that those before it did not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SelfTest:
    """``inputs`` [number, tokens, features], of the longest sequence, and their ``results`` by the golden model."""

    inputs: IntArray
    results: IntArray


def make_self_test(model: QuantModel) -> SelfTest:
    """Random inputs, the same for the same model, and what the golden model makes of them."""
    inputs = [random_rows(model, model.max_tokens, seed) for seed in range(INPUTS)]
    results = [forward(model, x)["output"] for x in inputs]
    return SelfTest(inputs=np.stack(inputs).astype(np.int64), results=np.stack(results).astype(np.int64))


def write_self_test(path: str | Path, test: SelfTest) -> None:
    """As a safetensors file of two int16 tensors."""
    tensors = {"inputs": test.inputs.astype(np.int16), "results": test.results.astype(np.int16)}
    write_bytes(path, safetensors.numpy.save(tensors))


def read_self_test(path: str | Path) -> SelfTest:
    """Read what :func:`write_self_test` wrote.

    Raises
    ------
    InputError
        If it is no such file.
    """
    try:
        tensors = safetensors.numpy.load(read_bytes(path))
        inputs, results = tensors.pop("inputs"), tensors.pop("results")
        if tensors or inputs.ndim != 3 or results.ndim not in (2, 3) or len(inputs) != len(results):
            raise ValueError(f"inputs {list(inputs.shape)}, results {list(results.shape)}")
        if inputs.dtype != np.int16 or results.dtype != np.int16:
            raise ValueError(f"inputs {inputs.dtype}, results {results.dtype}")
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: truncated or altered ({brief(error)}); generate it again") from None
    return SelfTest(inputs=inputs.astype(np.int64), results=results.astype(np.int64))
