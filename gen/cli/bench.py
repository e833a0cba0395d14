# SPDX-License-Identifier: Apache-2.0
"""``rtlformer bench``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.console import Console

from gen.atomic import output_file
from gen.bench import WORKLOADS, measure, table, update_document
from gen.cli.app import CheckFailed
from gen.cli.common import json_option, show, show_markdown, step
from gen.demo import digits_model
from gen.emit.verilog import TOP, emit_core
from gen.errors import InputError
from gen.fpga.implement import Implementation, implement
from gen.fpga.nextpnr import median_fmax
from gen.fpga.synth import part
from gen.jsontext import json_text
from sim.fast import Progress
from sim.verilate import build_root

_PART = "lfe5u-85f"
_LUT_BAR, _CLOCK_BAR = 25000, 80


@click.command(
    "bench",
    short_help="Measure the standard workloads.",
    epilog="\b\nExamples:\n  rtlformer bench --no-pnr\n  rtlformer bench --only digits --no-pnr --json",
)
@click.option("--only", multiple=True, metavar="WORKLOAD", help="Only this workload; may be given several times.")
@click.option("--pnr/--no-pnr", default=True, help="Place and route the digits core too (default; tens of minutes).")
@click.option("--seeds", type=click.IntRange(1, 32), default=3, show_default=True, help="Runs of place and route.")
@json_option
def command(only: tuple[str, ...], pnr: bool, seeds: int, as_json: bool) -> None:
    """Measure cycles and utilisation on the Verilog, and size and clock of the digits core after routing.

    Writes build/bench.json and, when all workloads are measured, the tables of docs/performance.md. Exit status 1 if
    a bar is missed or the cycle model is off by more than 2%.
    """
    names = list(dict.fromkeys(workload.name for workload in WORKLOADS))
    if unknown := [name for name in only if name not in names]:
        raise InputError(f"{unknown[0]}: no such workload; choose from {', '.join(names)}")
    measurements, failures = [], []
    for workload in WORKLOADS:
        if only and workload.name not in only:
            continue
        with step(workload.title) as tell:

            def progress(state: Progress, tell=tell) -> None:
                tell(f"cycle {state.cycle}, {state.cycles_per_second / 1e3:.0f} kHz")

            measurements += measure(workload, progress=progress, building=tell)
    for measurement in measurements:
        failures += measurement.failures
    texts = {"bench": table(measurements)}
    routed = _route(seeds) if pnr else None
    if routed:
        texts["synthesis"] = routed.markdown("").partition("\n\n")[2].rstrip()
        failures += routed.problems + _missed(routed)
    root = build_root()
    root.mkdir(parents=True, exist_ok=True)
    entries = [measurement.as_dict() for measurement in measurements]
    output_file(root / "bench.json", json_text(entries) + "\n", force=True)
    written = [root / "bench.json"]
    if routed:
        output_file(root / "bench-synthesis.json", json_text(routed.as_dict()) + "\n", force=True)
        written.append(root / "bench-synthesis.json")
    document = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
    if not only and document.parent.is_dir():
        for section, text in texts.items():
            output_file(document, update_document(document, section, text), force=True)
        written.append(document)

    def render(console: Console) -> None:
        for text in texts.values():
            show_markdown(console, text)
        for path in written:
            console.print(f"wrote {path}")

    show({"workloads": entries, "synthesis": routed.as_dict() if routed else None, "failures": failures},
         as_json, render)  # fmt: skip
    if failures:
        raise CheckFailed("bench: " + "; ".join(failures))


def _route(seeds: int) -> Implementation:
    digits = digits_model(2)
    verilog = emit_core(digits.image.config, digits.image.memories)
    with tempfile.TemporaryDirectory() as folder, step(f"digits core on {_PART}, {seeds} seeds") as tell:
        return implement(
            verilog,
            digits.image.config,
            Path(folder),
            top=TOP,
            part=part(_PART),
            seeds=range(1, seeds + 1),
            progress=tell,
        )


def _missed(routed: Implementation) -> list[str]:
    missed = []
    if routed.cells.lut_sites > _LUT_BAR:
        missed.append(f"digits core: {routed.cells.lut_sites} LUT sites are above {_LUT_BAR}")
    if routed.routes and median_fmax(routed.routes) < _CLOCK_BAR:
        missed.append(f"digits core: {median_fmax(routed.routes):.1f} MHz, median, is below {_CLOCK_BAR} MHz")
    return missed
