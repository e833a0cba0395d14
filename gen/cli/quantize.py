# SPDX-License-Identifier: Apache-2.0
"""``rtlformer quantize``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from gen.atomic import check_free
from gen.cli.app import CheckFailed
from gen.cli.common import Finite, force_option, json_option, show, step
from gen.cli.data import load_array
from gen.model.accuracy import HELD_OUT_OF, MAX_ERROR, Accuracy, assess, held_out
from gen.model.checkpoint import read_checkpoint, shortened
from gen.model.family import FAMILIES
from gen.model.modelfile import save_model
from gen.model.quantize import quantise
from sim.qmodel import QuantModel

_FEW = 8  # samples, below which a range or a figure is a rough one
_SATURATED = 0.001  # share of a tensor's values from which on it is worth a line
_SHOWN = 5


_HELP = f"""Quantise the Hugging Face folder CHECKPOINT (config.json, model.safetensors) to int8.

Supported: model_type {" and ".join(FAMILIES)}. Whatever cannot be done is refused by name.

The error printed is that of the integer model's output against the float model's, on inputs that calibration has not
seen; where they are held out, the model written is calibrated with them too. Exit status 1 if the error is above the
limit."""


@click.command(
    "quantize",
    help=_HELP,
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
    help="Typical inputs: .npy of uint8 images (N, C, H, W) or token ids (N, T); .npz of a tokenizer's input_ids, "
    "token_type_ids and attention_mask (padding on either side), or of one array a sample.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cut a text model down to sequences of at most N tokens [all its positions].",
)
@click.option(
    "--evaluate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Inputs to measure the error on; unless given, a quarter of the calibration samples, 32 at most, is held out.",
)
@click.option(
    "--max-error",
    default=100 * MAX_ERROR,
    show_default=True,
    type=Finite(min=0),
    metavar="PERCENT",
    help="Error of the output, RMS over its deviation, above which no model is written (exit status 1).",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="MODEL", help="File to write.")
@click.option("--exp", default="base2", metavar="KERNEL", help="Exponential of the core: base2 (default) or ibert.")
@click.option("--gelu", default="table", metavar="KERNEL", help="GELU of the core: table (default) or ibert.")
@force_option
@json_option
def command(
    checkpoint: Path,
    calibration: Path,
    max_tokens: int | None,
    evaluate: Path | None,
    max_error: float,
    output: Path,
    exp: str,
    gelu: str,
    force: bool,
    as_json: bool,
) -> None:
    """Read, quantise, measure, write and report."""
    check_free(output, force=force)
    source = read_checkpoint(checkpoint)
    if max_tokens is not None:
        source = shortened(source, max_tokens)
    samples, name = source.samples(load_array(calibration), str(calibration)), str(calibration)
    seen: Sequence = samples
    others: Sequence = []
    if evaluate is None:
        seen, others = held_out(samples)
    else:
        others, name = source.samples(load_array(evaluate), str(evaluate)), str(evaluate)
    with step(f"quantising {source.name}"):
        model = quantise(source, seen, exp=exp, gelu=gelu)
        among = [*seen, *others] if len(others) < _FEW else None
        accuracy = assess(source, model, others or samples, among=among, limit=max_error / 100, name=name)
        if len(seen) < len(samples):  # measured, the held-out ones make the model no worse
            model = quantise(source, samples, exp=exp, gelu=gelu)
    good = accuracy.error is None or accuracy.error <= max_error / 100
    digest = save_model(model, output) if good else None
    warnings = _warnings(len(samples), len(others), held=evaluate is None)
    result = {
        "model": str(output) if good else None,
        "name": model.name,
        "sha256": digest,
        "norm": model.norm,
        "hidden": model.hidden,
        "heads": model.heads,
        "layers": len(model.layers),
        "ffn": model.ffn,
        "max_tokens": model.max_tokens,
        "classes": model.classes,
        "exp": exp,
        "gelu": gelu,
        "calibration_samples": len(samples),
        "output_error": accuracy.error,
        "output_error_samples": accuracy.samples,
        "output_error_held_out": bool(others),
        "max_error": max_error / 100,
        "error_origin": accuracy.origin,
        "stage_errors": accuracy.stages,
        "saturated": accuracy.saturated,
        "warnings": warnings,
        "source_sha256": source.source,
        "notes": list(source.notes),
        "unused_tensors": list(source.unused),
    }

    def render(console: Console) -> None:
        origin = f"{_plural('sample', accuracy.samples)} {_source(evaluate is None, bool(others))}"
        measured_with = f"measured on {accuracy.samples} {origin}; the model is calibrated with {len(samples)}"
        _render(console, model, accuracy, measured_with)
        for warning in (*source.notes, *warnings):
            console.print(f"note: {warning}")
        if source.unused:
            console.print(f"not needed and left out: {', '.join(source.unused)}")
        if digest is not None:
            console.print(f"wrote {output} (sha256 {digest[:16]}...)")

    show(result, as_json, render)
    if not good:
        raise CheckFailed(
            f"{source.name}: the error of {accuracy.error:.1%} is above the limit of {max_error:g}% and arises in "
            f"{accuracy.origin}; calibrate on more and typical inputs, mend the checkpoint, or raise --max-error"
        )


def _warnings(calibrated: int, measured: int, *, held: bool) -> list[str]:
    """What is to be said about the numbers of samples; ``held``: those measured with were held out of the same file."""
    if not measured:
        return ["the one sample calibrated with is all there is to measure with too; give more, or --evaluate"]
    enough = f"{_FEW} or more"
    to_measure = f"{HELD_OUT_OF * _FEW} or more to --calibration, or --evaluate" if held else enough
    uses = ((calibrated, "calibrated with", enough), (measured, "measured with", to_measure))
    return [f"only {count} {_plural('sample', count)} {use}; give {what}" for count, use, what in uses if count < _FEW]


def _render(console: Console, model: QuantModel, accuracy: Accuracy, measured_with: str) -> None:
    console.print(
        f"{model.name}: {len(model.layers)} layers, {model.hidden} wide, {model.heads} heads, FFN {model.ffn}, "
        f"up to {model.max_tokens} tokens, {model.norm}-norm"
    )
    error = "not defined, all float outputs are equal" if accuracy.error is None else f"{accuracy.error:.2%}"
    console.print(f"integer against float output, RMS over its deviation: {error} ({measured_with})")
    console.print(f"values at the ends of their range: {_ends(accuracy.saturated)}")


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _source(held: bool, others: bool) -> str:
    if not others:
        return "of the calibration itself"
    return "held out from calibration" if held else "of their own"


def _ends(saturated: dict[str, float]) -> str:
    """The tensors with most values there."""
    worst = sorted(((share, name) for name, share in saturated.items() if share >= _SATURATED), reverse=True)
    if not worst:
        return f"below {_SATURATED:.1%} in each of {len(saturated)} tensors"
    more = f", and {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
    return ", ".join(f"{name} {share:.1%}" for share, name in worst[:_SHOWN]) + more
