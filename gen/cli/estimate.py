# SPDX-License-Identifier: Apache-2.0
"""``rtlformer estimate``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gen.cli.common import Finite, config_option, fitted, json_option, load_config, show, step
from gen.cycles.predict import predict, predict_interval, useful_macs, utilisation
from gen.errors import InputError
from gen.fpga.estimate import Candidate, Room, estimate, nearest_smaller, rooms, same_bytes
from gen.fpga.synth import PARTS, part
from gen.model.modelfile import load_model
from gen.program.compiler import compile_model, memory_usage
from hw.config import CoreConfig
from sim.qmodel import QuantModel


@click.command(
    "estimate",
    short_help="Predict cycles and size.",
    epilog="\b\nExamples:\n  rtlformer estimate --config edge --model digits.model --part lfe5u-85f"
    "\n  rtlformer estimate --config large --part lfe5u-45f",
)
@config_option
@click.option("--model", "model_path", type=click.Path(path_type=Path), help="Made by 'rtlformer quantize'.")
@click.option("--part", "part_name", default="lfe5u-85f", show_default=True, help=f"One of {', '.join(PARTS)}.")
@click.option("--tokens", type=click.IntRange(min=1), help="Length of the inputs [the model's longest].")
@click.option("--mhz", type=Finite(1, 10_000), default=80.0, show_default=True, help="Clock for the projection.")
@click.option("--fit", is_flag=True, help="Size the memories for the model instead of taking the configuration's.")
@json_option
def command(
    config_name: str, model_path: Path | None, part_name: str, tokens: int | None, mhz: float, fit: bool, as_json: bool
) -> None:
    """Predict cycles, buffers and size of a core before anything is built, and whether it fits a part.

    Without --model: the size alone. If it does not fit, the nearest smaller configuration that does is named.
    """
    chosen, config = part(part_name), load_config(config_name)
    model = load_model(model_path) if model_path else None
    if fit:
        if model is None:
            raise InputError("--fit: needs a model to size the memories for; give --model")
        config = fitted(model, config)
    cells = estimate(config)
    needs = rooms(cells, chosen)
    result = {
        "array": config.array,
        "configuration": asdict(config),
        "part": chosen.name,
        "cells": cells.as_dict(),
        "needs": _needs(needs),
        "fits": all(room.fits for room in needs),
    }
    if model is not None:
        result |= _cycles(model, config, tokens, mhz)
    smaller = None
    if not result["fits"]:
        with step("looking for a smaller configuration that fits") as tell:
            smaller = nearest_smaller(
                config,
                chosen,
                lambda shape: _resized(config, shape, model),
                lambda array, done, total: tell(array, done=done, total=total),
            )
        fitting = smaller is not None and smaller.fits
        result["nearest_smaller"] = asdict(smaller.config) if smaller is not None and smaller.fits else None
        result["came_nearest"] = None if smaller is None or fitting else {
            "configuration": asdict(smaller.config), "needs": _needs(smaller.rooms)}  # fmt: skip

    def render(console: Console) -> None:
        console.print(f"{config.array} core, exp {config.exp}, gelu {config.gelu}"
                      + (f", for {model.name}" if model else ""))  # fmt: skip
        if model is not None:
            _render_cycles(console, result)
        table = Table("on " + chosen.name, "estimate", "available", "", box=None, pad_edge=False)
        for room in needs:
            verdict = Text("fits", "green") if room.fits else Text("too much", "red")
            table.add_row(room.resource, str(room.needed), str(room.available), verdict)
        table.add_row("registers", str(cells.ff), "", "")
        console.print(table)
        console.print(f"of the LUT sites: {cells.lut4} LUT4, {cells.carry} CCU2C, {cells.lut_ram} TRELLIS_DPR16X4 "
                      "(derived; 'rtlformer synth' measures)")  # fmt: skip
        if not result["fits"]:
            _render_smaller(console, smaller, chosen.name)

    show(result, as_json, render)


def _needs(needs: Iterable[Room]) -> dict:
    return {room.resource: {"needed": room.needed, "available": room.available} for room in needs}


def _render_smaller(console: Console, smaller: Candidate | None, part_name: str) -> None:
    if smaller is None:
        console.print(f"no smaller array goes with the model and {part_name}: take a larger part or a smaller model")
        return
    config = smaller.config
    what = f"{config.array}, drain_columns {config.drain_columns}, {config.macs} multiply-accumulates"
    if smaller.fits:
        console.print(f"nearest that fits: {what} (--json prints it whole)")
        return
    scarce = smaller.scarcest
    console.print(f"no smaller array fits {part_name} either; what came nearest is {what}, which needs {scarce.needed} "
                  f"{scarce.resource} of {scarce.available}: take a larger part or a smaller model")  # fmt: skip


def _cycles(model: QuantModel, config: CoreConfig, tokens: int | None, mhz: float) -> dict:
    """What depends on the model; where it does not fit the memories, only how much it lacks."""
    buffers = {
        name: {"needed": used, "available": there} for name, (used, there) in memory_usage(model, config).items()
    }
    result: dict = {"model": model.name, "buffers": buffers}
    lacking = [name for name, b in buffers.items() if b["needed"] > b["available"]]
    if lacking:
        return result | {"cycles": None, "fits": False, "lacking": lacking}
    image = compile_model(model, config)
    tokens = tokens or image.max_tokens
    if tokens > image.max_tokens:
        raise InputError(
            f"--tokens: {model.name} takes at most {image.max_tokens}, not {tokens}; give fewer, or "
            "quantise with more --max-tokens"
        )
    predicted = predict(image, tokens)
    interval, macs = predict_interval(image, tokens), useful_macs(model, tokens)
    return result | {
        "cycles": {
            "tokens": tokens,
            "single": predicted.single,
            "interval": interval,
            "macs": macs,
            "utilisation": utilisation(macs, predicted.single, config),
            "busy": dict(predicted.busy),
            "mhz": mhz,
            "projected_microseconds": predicted.single / mhz,
            "projected_inputs_per_second": mhz * 1e6 / interval,
        }
    }


def _render_cycles(console: Console, result: dict) -> None:
    table = Table("buffer", "words needed", "available", box=None, pad_edge=False)
    for name, b in result["buffers"].items():
        style = "red" if b["needed"] > b["available"] else ""
        table.add_row(name, Text(str(b["needed"]), style), str(b["available"]))
    console.print(table)
    c = result["cycles"]
    if c is None:
        lacking = Text(f"{', '.join(result['lacking'])} too small for the model", "red")
        console.print(lacking, "--fit sizes them for it", sep=": ")
        return
    console.print(f"{c['single']} cycles predicted for one input of {c['tokens']} tokens, {c['utilisation']:.1%} of "
                  f"the array's multiply-accumulates useful; {c['interval']} between results in a stream")  # fmt: skip
    console.print(f"projected at {c['mhz']:g} MHz: {c['projected_microseconds']:.0f} us an input, "
                  f"{c['projected_inputs_per_second']:.0f} inputs a second")  # fmt: skip


def _resized(config: CoreConfig, shape: CoreConfig, model: QuantModel | None) -> CoreConfig | None:
    try:
        return same_bytes(config, shape) if model is None else fitted(model, shape)
    except ValueError:  # a field that is not large enough, a model that does not go with the shape
        return None
