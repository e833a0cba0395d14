# SPDX-License-Identifier: Apache-2.0
"""What goes into a model on the command line, and what comes out of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console

from gen.arrayfile import read_arrays
from gen.atomic import output_file
from gen.emit.manifest import Design
from gen.errors import InputError
from gen.model.inputs import IDS, MASK, TYPES, Tokens, tokenized
from gen.simulate.run import model_inputs
from sim.golden import IntArray

__all__ = [
    "INPUT_HELP",
    "checkpoint_option",
    "load_array",
    "output_option",
    "read_inputs",
    "show_outputs",
    "write_outputs",
]

INPUT_HELP = "Inputs: with --checkpoint the model's own (images, token ids, .npz of a tokenizer), else integer rows."

_SHOWN = 8

checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Folder that the model was quantised from."
)
output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="Y.npy", help="Write the integer results."
)


def load_array(path: str | Path) -> npt.NDArray | list[npt.NDArray] | list[Tokens]:
    """The array of a ``.npy`` file, or the arrays of a ``.npz`` file: what a tokenizer gave, under its names, or one
    array a sample.

    Raises
    ------
    InputError
        If it cannot be read, holds Python objects instead of numbers, or is no whole output of a tokenizer.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .npy file, or .npz with one array a sample")
    loaded = read_arrays(path)
    if isinstance(loaded, dict) and not loaded.keys().isdisjoint((IDS, TYPES, MASK)):
        return tokenized(loaded, str(path))
    arrays = list(loaded.values()) if isinstance(loaded, dict) else loaded
    if not isinstance(arrays, list) and not arrays.ndim:
        raise InputError(f"{path}: holds one number, not an array of samples; give at least one sample")
    return arrays


def read_inputs(
    design: Design, path: Path, checkpoint: Path | None, *, limit: int | None = None, output: Path | None = None
) -> list[IntArray]:
    """The first ``limit`` inputs in ``path``, as :func:`gen.simulate.run.model_inputs` gives them.

    Raises
    ------
    InputError
        If they do not fit the model, or their results would not make one array for ``output``.
    """
    data = load_array(path)
    single = isinstance(data, np.ndarray) and data.ndim == 2 and checkpoint is None
    inputs = model_inputs(design, data if single else data[:limit], checkpoint, str(path))
    if output and len({len(x) for x in inputs}) > 1 and not design.image.output.logits:
        raise InputError(f"{output}: results of different lengths make no array; leave -o out or give equal lengths")
    return inputs


def write_outputs(path: Path, outputs: Sequence[IntArray], *, force: bool) -> None:
    """The integer results as one int16 array in a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack(outputs).astype(np.int16))
    output_file(path, buffer.getvalue(), force=force)


def show_outputs(console: Console, design: Design, outputs: Sequence[IntArray]) -> None:
    """The first results, a line each: the label and the logits, or the beginning of the rows."""
    model = design.model
    for number, y in enumerate(outputs[:_SHOWN]):
        if design.image.output.logits:
            best = int(np.argmax(y))
            label = f"{model.labels[best]}  " if model.labels else f"{best}  " if len(y) > 1 else ""
            console.print(f"input {number}: {label}{(y * model.scales['output']).round(2).tolist()}")
        else:
            console.print(f"input {number}: {y.shape[0]} rows, first {y[0, :6].tolist()}...")
    if len(outputs) > _SHOWN:
        console.print(f"... and {len(outputs) - _SHOWN} more")
