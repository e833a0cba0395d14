# SPDX-License-Identifier: Apache-2.0
"""``rtlformer quantize``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.console import Console

from gen.atomic import check_free
from gen.cli.common import force_option, json_option, show, step
from gen.cli.data import load_array
from gen.model.accuracy import output_error
from gen.model.checkpoint import read_checkpoint
from gen.model.floatmodel import forward
from gen.model.modelfile import save_model
from gen.model.quantize import integer_inputs, quantise
from sim import reference

_SAMPLES = 32  # of the calibration set, for the accuracy that is reported


@click.command(
    "quantize",
    short_help="Checkpoint to int8 model.",
    epilog="\b\nExample:\n  rtlformer quantize examples/digits/checkpoint "
    "--calibration examples/digits/calibration.npy \\\n      -o digits.model",
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Typical inputs, .npy or .npz: uint8 images (N, C, H, W), or token ids (N, T).",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="MODEL", help="File to write.")
@click.option("--exp", default="base2", metavar="KERNEL", help="Exponential of the core: base2 (default) or ibert.")
@click.option("--gelu", default="table", metavar="KERNEL", help="GELU of the core: table (default) or ibert.")
@force_option
@json_option
def command(checkpoint: Path, calibration: Path, output: Path, exp: str, gelu: str, force: bool, as_json: bool) -> None:
    """Quantise the Hugging Face folder CHECKPOINT (config.json, model.safetensors) to int8.

    Supported: model_type vit and bert. Whatever cannot be done is refused by name.
    """
    check_free(output, force=force)
    source = read_checkpoint(checkpoint)
    inputs = load_array(calibration)
    with step(f"quantising {source.name}"):
        model = quantise(source, inputs, exp=exp, gelu=gelu)
        few = inputs[:_SAMPLES]
        expected = np.concatenate([np.ravel(value) for value in forward(source, few)])
        rows = integer_inputs(source, model, few, str(calibration))
        found = np.concatenate([np.ravel(reference.forward(model, row)["output"]) for row in rows])
    error = output_error(found * model.scales["output"], expected)
    digest = save_model(model, output)
    result = {
        "model": str(output),
        "name": model.name,
        "sha256": digest,
        "norm": model.norm,
        "hidden": model.hidden,
        "heads": model.heads,
        "layers": len(model.layers),
        "ffn": model.ffn,
        "max_tokens": model.max_tokens,
        "classes": len(model.labels),
        "exp": exp,
        "gelu": gelu,
        "output_error": error,
        "output_error_samples": len(few),
        "unused_tensors": list(source.unused),
    }

    def render(console: Console) -> None:
        console.print(
            f"{model.name}: {len(model.layers)} layers, {model.hidden} wide, {model.heads} heads, FFN {model.ffn}, "
            f"up to {model.max_tokens} tokens, {model.norm}-norm"
        )
        console.print(
            "integer against float output, RMS over its deviation: "
            + ("not defined, all float outputs are equal" if error is None else f"{error:.2%}")
            + f" (measured, {len(few)} calibration samples)"
        )
        if source.unused:
            console.print(f"not needed and left out: {', '.join(source.unused)}")
        console.print(f"wrote {output} (sha256 {digest[:16]}...)")

    show(result, as_json, render)
