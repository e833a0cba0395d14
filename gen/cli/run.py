# SPDX-License-Identifier: Apache-2.0
"""``rtlformer run``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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
from gen.link.identity import Measured
from gen.link.simulated import simulated_board
from gen.link.transport import MOST_BAUD
from gen.text import one_line
from sim.board.terminal import Terminal
from sim.golden import IntArray
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
    if input_path is None:
        _check_without_input(self_test=self_test, results=output is not None or compare)
    if output:
        check_free(output, force=force)
    design = open_design(folder)
    inputs: Sequence = []
    if input_path is not None:
        inputs = read_inputs(design, input_path, checkpoint, limit=limit, output=output)

    waiting = _Waiting("the simulated board" if port == "sim" else port)
    with _device(design, port, baud, timeout, waiting) as device:
        identity = device.identity
        with step("loading the model") as waiting.tell:
            loaded = device.load(design, progress=_bytes(waiting.tell), force=reload)
        tested = _tested(device, design, waiting) if self_test else 0
        outputs = _run_all(device, inputs, waiting) if len(inputs) else []
        measured, counters = device.measured if len(inputs) else None, device.counters()

    if output:
        write_outputs(output, outputs, force=force)
    wrong = _disagreeing(design, inputs, outputs) if compare else []
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
    simulated = ", simulated" if device.simulated else ""
    if measured:
        result |= _rates(measured, f"measured by the board's cycle counter{simulated}")
    if design.image.output.logits and design.image.output.width > 1:
        result["classes"] = [int(np.argmax(y)) for y in outputs]

    def render(console: Console) -> None:
        _render_board(console, device, design.model.name, port, loaded=loaded)
        if self_test:
            console.print(f"self-test: {tested} values came back as they should")
        show_outputs(console, design, outputs)
        if measured:
            _render_rates(console, measured, len(inputs), identity.baud, simulated)
        if compare:
            _render_comparison(console, len(outputs), len(wrong))
        if output:
            console.print(f"wrote {output}")

    show(result, as_json, render)
    _fail_if(device.damage if self_test else None, wrong)


def _check_without_input(*, self_test: bool, results: bool) -> None:
    if not self_test:
        raise InputError("run: there is nothing to run; give --input or --self-test")
    if results:
        raise InputError("run: without inputs there are no results for -o or --compare; give --input")


def _fail_if(damage: str | None, wrong: Sequence[int]) -> None:
    if damage:
        raise CheckFailed(f"the model that the board held was damaged; it has been loaded anew ({damage})")
    if wrong:
        raise CheckFailed(f"input {wrong[0]}: the board and the golden model disagree; run --self-test, then --reload")


def _tested(device: Device, design: Design, waiting: _Waiting) -> int:
    with step("testing link and core") as waiting.tell:
        return device.self_test(design)


def _run_all(device: Device, inputs: Sequence, waiting: _Waiting) -> list[IntArray]:
    with step("running") as waiting.tell:
        return device.run_all(inputs, progress=lambda done, total: waiting.tell(
            f"{done}/{total} results", done=done, total=total))  # fmt: skip


def _disagreeing(design: Design, inputs: Sequence, outputs: Sequence[IntArray]) -> list[int]:
    """The inputs whose results are not the golden model's."""
    pairs = enumerate(zip(inputs, outputs, strict=True))
    return [n for n, (x, y) in pairs if (forward(design.model, x)["output"] != y).any()]


def _rates(measured: Measured, kind: str) -> dict:
    return {
        "link": {
            "kind": kind,
            "results_per_second": measured.link_rate,
            "cycles": measured.cycles,
            "bytes_sent": measured.bytes_sent,
            "bytes_received": measured.bytes_received,
            "repeated_requests": measured.repeated,
        },
        "core": {"kind": kind, "results_per_second": measured.core_rate, "cycles": measured.core_cycles},
    }


def _render_board(console: Console, device: Device, model: str, port: str, *, loaded: bool) -> None:
    identity, simulated = device.identity, ", simulated" if device.simulated else ""
    console.print(
        f"{port}: {identity.config.array} core, {identity.clock_hz / 1e6:g} MHz{simulated}; "
        f"model {model} {'loaded' if loaded else 'was there already'}"
    )
    if device.damage:
        console.print(f"the model that the board held was damaged, and loaded anew: {device.damage}")


def _render_comparison(console: Console, results: int, wrong: int) -> None:
    verdict = "all equal" if not wrong else f"{wrong} differ"
    console.print(f"{results} results compared with the golden model: {verdict}")


def _render_rates(console: Console, measured: Measured, inputs: int, baud: int, simulated: str) -> None:
    console.print(
        f"on the link ({baud / 1e6:g} Mbaud): {measured.link_rate:.4g} results a second, "
        f"{measured.cycles / inputs:.0f} cycles each; measured by the board's cycle counter{simulated}"
    )
    console.print(
        f"on the core: {measured.core_rate:.4g} results a second, {measured.core_cycles / inputs:.0f} "
        f"cycles each; measured likewise, over the cycles with a pass in flight{simulated}"
    )
    if measured.repeated:
        console.print(f"{measured.repeated} requests had to be repeated")


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
