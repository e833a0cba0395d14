# SPDX-License-Identifier: Apache-2.0
"""``rtlformer simulate``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.console import Console

from gen.atomic import check_free, output_file, scratch_file
from gen.cli.app import CheckFailed
from gen.cli.common import force_option, json_option, show, step
from gen.cli.data import INPUT_HELP, checkpoint_option, output_option, read_inputs, show_outputs, write_outputs
from gen.cycles.predict import predict, predict_interval, useful_macs, utilisation
from gen.emit.manifest import open_design
from gen.simulate.activity import chrome_trace, picture
from gen.simulate.run import Outcome, simulate
from sim.fast import Progress

_SHOWN = 8  # differences printed


@click.command(
    "simulate",
    short_help="Run inputs through the Verilog.",
    epilog="\b\nExample:\n  rtlformer simulate build/digits --checkpoint examples/digits/checkpoint \\\n"
    "      --input examples/digits/test_images.npy --limit 8 --compare --timeline build/timeline",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--input", "input_path", required=True, type=click.Path(path_type=Path), metavar="X.npy", help=INPUT_HELP)
@checkpoint_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N inputs.")
@click.option("--compare", is_flag=True, help="Compare every tensor of every input with the golden model.")
@click.option("--timeline", type=click.Path(path_type=Path), metavar="NAME",
              help="Write NAME.json (Chrome, Perfetto) and NAME.png: which engine was busy when.")  # fmt: skip
@click.option("--waves", type=click.Path(path_type=Path), metavar="FILE.fst", help="Write all signals (slow).")
@output_option
@force_option
@json_option
def command(
    folder: Path,
    input_path: Path,
    checkpoint: Path | None,
    limit: int | None,
    compare: bool,
    timeline: Path | None,
    waves: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run inputs through the Verilog of DIR (from 'rtlformer generate') in the fast simulator.

    The first input runs alone and is timed; the others follow back to back, unless --compare looks into each.
    Exit status 1 if something differs from the golden model.
    """
    pictures = [timeline.with_name(timeline.name + kind) for kind in (".json", ".png")] if timeline else []
    for path in [*pictures, *filter(None, (waves, output))]:
        check_free(path, force=force)
    design = open_design(folder)
    inputs = read_inputs(design, input_path, checkpoint, limit=limit, output=output)

    with step("simulating") as tell, scratch_file(waves, force=force) as wave_file:

        def watch(state: Progress, done: int) -> None:
            tell(f"{done}/{len(inputs)} results, cycle {state.cycle}, {state.cycles_per_second / 1e3:.0f} kHz",
                 done=done, total=len(inputs))  # fmt: skip

        outcome = simulate(design, inputs, compare=compare, waves=wave_file, progress=watch, building=tell)

    model, config = design.model, design.config
    macs, predicted = useful_macs(model, len(inputs[0])), predict(design.image, len(inputs[0]))
    predicted_interval = predict_interval(design.image, len(inputs[0])) if outcome.interval_cycles else None
    title = f"{model.name} on {config.array}, {len(inputs[0])} tokens, {outcome.single_cycles} cycles"
    if outcome.timeline is not None and pictures:
        output_file(pictures[0], chrome_trace(outcome.timeline, predicted.operations, title=title), force=force)
        output_file(pictures[1], picture(outcome.timeline, title=title), force=force)
    if output:
        write_outputs(output, outcome.outputs, force=force)
    written = [str(path) for path in [*pictures, *filter(None, (waves, output))]]
    result = {
        "model": model.name,
        "array": config.array,
        "inputs": len(inputs),
        "tokens": len(inputs[0]),
        "single_cycles": outcome.single_cycles,
        "predicted_single_cycles": predicted.single,
        "utilisation": utilisation(macs, outcome.single_cycles, config),
        "interval_cycles": outcome.interval_cycles,
        "predicted_interval_cycles": predicted_interval,
        "simulated_cycles": outcome.cycles,
        "compared_tensors": outcome.tensors,
        "differences": [{"input": n, "tensor": name, "what": what} for n, name, what in outcome.differences],
        "written": written,
    }
    if design.image.output.logits and design.image.output.width > 1:
        result["classes"] = [int(np.argmax(y)) for y in outcome.outputs]

    def render(console: Console) -> None:
        show_outputs(console, design, outcome.outputs)
        console.print(
            f"one input of {len(inputs[0])} tokens: {outcome.single_cycles} cycles measured, {predicted.single} "
            f"predicted; {result['utilisation']:.1%} of the array's multiply-accumulates useful"
        )
        if outcome.interval_cycles is not None:
            share = utilisation(macs, outcome.interval_cycles, config)
            console.print(
                f"in a stream: {outcome.interval_cycles:.0f} cycles between results measured, {predicted_interval} "
                f"predicted; {share:.1%}"
            )
        if compare:
            _render_comparison(console, outcome)
        for path in written:
            console.print(f"wrote {path}")

    show(result, as_json, render)
    if outcome.differences:
        number, name, what = outcome.differences[0]
        raise CheckFailed(f"input {number}, tensor {name}: {what}; the Verilog and the golden model disagree")


def _render_comparison(console: Console, outcome: Outcome) -> None:
    verdict = "all equal" if not outcome.differences else f"{len(outcome.differences)} differ"
    console.print(f"{outcome.tensors} tensors compared with the golden model: {verdict}")
    for number, name, what in outcome.differences[:_SHOWN]:
        console.print(f"  input {number}, {name}: {what}")
