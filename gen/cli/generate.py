# SPDX-License-Identifier: Apache-2.0
"""``rtlformer generate``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from gen.atomic import check_free, output_folder
from gen.cli.common import config_option, fitted, force_option, json_option, load_config, show, step
from gen.emit.manifest import write_design
from gen.emit.verilog import emit_core
from gen.model.modelfile import load_model
from gen.program.compiler import compile_model
from hw.wrappers import WRAPPERS


@click.command(
    "generate",
    short_help="Write an accelerator.",
    epilog="\b\nExample:\n  rtlformer generate --config edge --model digits.model -o build/digits",
)
@config_option
@click.option(
    "--model", "model_path", required=True, type=click.Path(path_type=Path), help="From 'rtlformer quantize'."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to make.")
@click.option("--fit", is_flag=True, help="Size the memories for this model instead of taking the configuration's.")
@click.option(
    "--wrapper",
    type=click.Choice(["none", *WRAPPERS]),
    default="none",
    help="Bus to put the core behind: AXI4-Lite and AXI4-Stream, or Wishbone.  [default: none]",
)
@force_option
@json_option
def command(
    config_name: str, model_path: Path, output: Path, fit: bool, wrapper: str, force: bool, as_json: bool
) -> None:
    """Write the accelerator of a configuration that runs MODEL.

    DIR gets core.v (the model in its memories), the program and images, interface.md (ports, packets, memories) and
    manifest.json (every file with its hash, versions, predicted cycles), and rtlformer.core for FuseSoC. With
    --wrapper, also the IP top that goes with core.v (rtlformer_axi.v or rtlformer_wishbone.v), its registers as
    rtlformer.h for C and registers.md to read.
    """
    check_free(output, force=force, folder=True)
    config = load_config(config_name)
    model = load_model(model_path)
    if fit:
        config = fitted(model, config)
    with output_folder(output, force=force) as folder:
        with step("compiling the program"):
            image = compile_model(model, config)
        with step("emitting Verilog"):
            verilog = emit_core(config, image.memories)
        with step("writing images and manifest"):
            manifest = write_design(folder, model, image, verilog, wrapper=None if wrapper == "none" else wrapper)

    def render(console: Console) -> None:
        predicted = manifest["predicted"]
        console.print(f"{output}: {config.array} core for {model.name}, {len(image.program)} program words")
        full = ", ".join(f"{name} {used}/{there}" for name, (used, there) in image.usage.items() if used)
        console.print(f"memory words used: {full}")
        console.print(
            f"predicted for {predicted['tokens']} tokens: {predicted['single_cycles']} cycles, "
            f"{predicted['utilisation']:.1%} of the array; in a stream {predicted['interval_cycles']} between results"
        )
        tops = f"core.v and {manifest['wrapper']['top']}.v" if "wrapper" in manifest else "core.v"
        console.print(f"wrote {len(manifest['files']) + 1} files; read interface.md to put {tops} into a system")

    show({"output": str(output), **manifest}, as_json, render)
