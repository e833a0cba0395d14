# SPDX-License-Identifier: Apache-2.0
"""``rtlformer demo``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from gen.cli.app import CheckFailed
from gen.cli.common import json_option, show, step
from gen.demo import drawing, run_demo
from sim.fast import Progress
from sim.verilate import build_root

_SHOWN = 5


@click.command("demo", short_help="Digits, end to end.", epilog="\b\nExample:\n  rtlformer demo --images 100")
@click.option("--images", type=click.IntRange(4, 450), default=450, show_default=True, help="Test images to run.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Folder [build/demo/digits].")
@json_option
def command(images: int, output: Path | None, as_json: bool) -> None:
    """Generate the accelerator of the bundled digits model and run real test images through its Verilog.

    Exit status 1 if a single logit differs from the golden model.
    """
    output = output or build_root() / "demo" / "digits"
    live: list = [None]

    @contextmanager
    def shown(name: str):
        with step(name) as live[0]:
            yield

    def progress(state: Progress, done: int) -> None:
        live[0](f"{done} done, {state.cycles_per_second / 1e3:.0f} kHz", done=done, total=images)

    demo, digits = run_demo(output, count=images, step=shown, progress=progress, building=lambda text: live[0](text))
    config = digits.image.config
    wrong = [i for i in range(demo.images) if demo.predicted[i] != demo.labels[i]]
    result = asdict(demo) | {"array": config.array, "accelerator": str(output), "exact": demo.exact, "wrong": wrong}

    def render(console: Console) -> None:
        chosen = [*wrong[:1], *(i for i in range(demo.images) if i not in wrong)][:_SHOWN]
        captions = [f"read {demo.predicted[i]}, is {demo.labels[i]}" for i in chosen]
        unicode = "utf" in (sys.stdout.encoding or "").lower()
        console.print()
        print(drawing(digits.images[np.array(chosen)], captions, unicode=unicode))
        console.print()
        right = demo.images - len(wrong)
        console.print(f"accuracy       {right}/{demo.images} = {demo.accuracy:.2%} in integers on the Verilog;"
                      f" float model {demo.float_accuracy:.2%}")  # fmt: skip
        console.print(f"bit-exact      logits of {demo.logits_equal}/{demo.images} images equal the golden model's;"
                      f" {demo.tensors} tensors of the first {min(3, demo.images)} images compared,"
                      f" {len(demo.differences)} differ")  # fmt: skip
        console.print(f"logit error    {demo.logit_error:.2%} RMS of integer minus float, over the float deviation")
        console.print(f"cycles         {demo.single_cycles} for one image ({demo.predicted_cycles} predicted), "
                      f"{demo.interval_cycles:.0f} between images in a stream")  # fmt: skip
        console.print(f"utilisation    {demo.utilisation_single:.1%} one image, {demo.utilisation_stream:.1%} in a "
                      f"stream, of {config.macs} multiply-accumulates a cycle")  # fmt: skip
        console.print("time           " + ", ".join(f"{name} {took:.0f} s" for name, took in demo.seconds.items()))
        console.print(f"the accelerator is in {output}: start with its interface.md")

    show(result, as_json, render)
    if not demo.exact:
        what = (demo.differences or ["logits differ"])[0]
        raise CheckFailed(f"demo: {what}; the Verilog and the golden model disagree")
