# SPDX-License-Identifier: Apache-2.0
"""``rtlformer run``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from gen.atomic import check_free
from gen.cli.app import CheckFailed
from gen.cli.common import Finite, Tell, force_option, json_option, show, step
from gen.cli.data import INPUT_HELP, checkpoint_option, output_option, read_inputs, show_outputs, write_outputs
from gen.emit.manifest import Design, open_design
from gen.errors import InputError
from gen.link.device import BAUD, Device
from gen.link.simulated import simulated_board
from gen.link.transport import MOST_BAUD
from gen.text import one_line
from sim.board.terminal import Terminal
from sim.reference import forward


@click.command(
    "run",
    short_help="Run inputs on a board.",
    epilog="\b\nExamples:\n  rtlformer run build/digits --port /dev/ttyUSB0 --self-test\n"
    "  rtlformer run build/digits --port sim --checkpoint examples/digits/checkpoint \\\n"
    "      --input examples/digits/test_images.npy --limit 8 --compare",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--port", required=True, help="The board's serial port, or 'sim': a simulated board, started for this run."
)
@click.option("--input", "input_path", type=click.Path(path_type=Path), metavar="X.npy", help=INPUT_HELP)
@checkpoint_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N inputs.")
@click.option("--compare", is_flag=True, help="Compare every result with the golden model.")
@click.option(
    "--self-test",
    is_flag=True,
    help="Test link, core and memories first; without --input, nothing else.",
)
@click.option("--reload", is_flag=True, help="Load the model even if the board says that it holds it.")
@click.option("--baud", type=click.IntRange(1, MOST_BAUD), default=BAUD, show_default=True,
              help="As the bitstream was built.")  # fmt: skip
@click.option("--timeout", type=Finite(0.1, 3600), metavar="SECONDS",
              help="Give the board up after so long without an answer.  [default: 3; 15 if simulated]")  # fmt: skip
@output_option
@force_option
@json_option
def command(
    folder: Path,
    port: str,
    input_path: Path | None,
    checkpoint: Path | None,
    limit: int | None,
    compare: bool,
    self_test: bool,
    reload: bool,
    baud: int,
    timeout: float | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run inputs on the board at PORT, with the model of DIR (from 'rtlformer generate').

    The model is loaded unless the board holds it already, in its bitstream or from before; that it does is tried with
    inputs whose results are known, as far as that takes under a second. Exit status 1 if a result differs from the
    golden model (--compare), or if --self-test finds that the model on the board was damaged.
    """
    if input_path is None and not self_test:
        raise InputError("run: there is nothing to run; give --input or --self-test")
    if input_path is None and (output or compare):
        raise InputError("run: without inputs there are no results for -o or --compare; give --input")
    if output:
        check_free(output, force=force)
    design = open_design(folder)
    inputs = []
    if input_path is not None:
        inputs = read_inputs(design, input_path, checkpoint, limit=limit, output=output)

    waiting = _Waiting("the simulated board" if port == "sim" else port)
    with _device(design, port, baud, timeout, waiting) as device:
        identity = device.identity
        with step("loading the model") as waiting.tell:
            loaded = device.load(design, progress=_bytes(waiting.tell), force=reload)
        tested = 0
        if self_test:
            with step("testing link and core") as waiting.tell:
                tested = device.self_test(design)
        outputs = []
        if inputs:
            with step("running") as waiting.tell:
                outputs = device.run_all(inputs, progress=lambda done, total: waiting.tell(
                    f"{done}/{total} results", done=done, total=total))  # fmt: skip
        measured, counters = device.measured if inputs else None, device.counters()

    if output:
        write_outputs(output, outputs, force=force)
    wrong = []
    if compare:
        wrong = [n for n, (x, y) in enumerate(zip(inputs, outputs, strict=True))
                 if (forward(design.model, x)["output"] != y).any()]  # fmt: skip
    result = {
        "model": design.model.name,
        "port": port,
        "array": identity.config.array,
        "version": identity.version,
        "clock_hz": identity.clock_hz,
        "baud": identity.baud,
        "loaded": loaded,
        "damage": device.damage,
        "self_test_values": tested,
        "simulated": device.simulated,
        "inputs": len(inputs),
        "compared": len(outputs) if compare else 0,
        "differences": wrong,
        "counters": counters,
        "written": [str(output)] if output else [],
    }
    if measured:
        kind = f"measured by the board's cycle counter{', simulated' if device.simulated else ''}"
        result["link"] = {"kind": kind, "results_per_second": measured.link_rate, "cycles": measured.cycles,
                          "bytes_sent": measured.bytes_sent, "bytes_received": measured.bytes_received,
                          "repeated_requests": measured.repeated}  # fmt: skip
        result["core"] = {"kind": kind, "results_per_second": measured.core_rate, "cycles": measured.core_cycles}
    if design.image.output.logits and design.image.output.width > 1:
        result["classes"] = [int(np.argmax(y)) for y in outputs]

    def render(console: Console) -> None:
        model = design.model
        simulated = ", simulated" if device.simulated else ""
        console.print(
            f"{port}: {identity.config.array} core, {identity.clock_hz / 1e6:g} MHz{simulated}; "
            f"model {model.name} {'loaded' if loaded else 'was there already'}"
        )
        if device.damage:
            console.print(f"the model that the board held was damaged, and loaded anew: {device.damage}")
        if self_test:
            console.print(f"self-test: {tested} values came back as they should")
        show_outputs(console, design, outputs)
        if measured:
            console.print(
                f"on the link ({identity.baud / 1e6:g} Mbaud): {measured.link_rate:.4g} results a second, "
                f"{measured.cycles / len(inputs):.0f} cycles each; measured by the board's cycle counter{simulated}"
            )
            console.print(
                f"on the core: {measured.core_rate:.4g} results a second, {measured.core_cycles / len(inputs):.0f} "
                f"cycles each; measured likewise, over the cycles with a pass in flight{simulated}"
            )
            if measured.repeated:
                console.print(f"{measured.repeated} requests had to be repeated")
        if compare:
            verdict = "all equal" if not wrong else f"{len(wrong)} differ"
            console.print(f"{len(outputs)} results compared with the golden model: {verdict}")
        for path in result["written"]:
            console.print(f"wrote {path}")

    show(result, as_json, render)
    if self_test and device.damage:
        raise CheckFailed(f"the model that the board held was damaged; it has been loaded anew ({device.damage})")
    if wrong:
        raise CheckFailed(f"input {wrong[0]}: the board and the golden model disagree; run --self-test, then --reload")


class _Waiting:
    """Says, from the first second on, that the board's answer is being waited for: in the step that is under way, and
    where that shows nothing, once."""

    def __init__(self, name: str):
        self.name = name
        self.tell: Tell = lambda *_, **__: None

    def __call__(self, seconds: float, end: float) -> None:
        self.tell(f"no answer for {seconds:.0f} s; given up after {end:.3g}")
        if seconds < 2 and not sys.stderr.isatty():
            print(one_line(f"{self.name}: no answer yet; given up after {end:.3g} s"), file=sys.stderr, flush=True)


@contextmanager
def _device(design: Design, port: str, baud: int, timeout: float | None, waiting: _Waiting) -> Iterator[Device]:
    """The board at ``port``, or a simulated one that lives as long as it is used."""
    with ExitStack() as open_:
        if port == "sim":
            with step("building the simulated board") as tell:
                board = simulated_board(design, building=tell)
            port, baud = open_.enter_context(Terminal(board)).path, board.baud
        with step(f"connecting to {waiting.name}") as waiting.tell:
            device = Device(port, baud, timeout=timeout, waiting=waiting)
        yield open_.enter_context(device)


def _bytes(tell: Tell):
    return lambda done, total: tell(f"{done / 1024:.0f}/{total / 1024:.0f} KiB", done=done, total=total)
