# SPDX-License-Identifier: Apache-2.0
"""``rtlformer boards``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from boards.board import BOARDS, DEFAULT, Board
from boards.fit import fitting_presets, needs
from gen.cli.common import json_option, show
from gen.model.modelfile import load_model
from hw.config import PRESETS
from sim.qmodel import QuantModel


@click.command(
    "boards",
    short_help="List the boards, and what fits where.",
    epilog="\b\nExample:\n  rtlformer boards --model digits.model",
)
@click.option("--model", "model_path", type=click.Path(path_type=Path), help="Only presets that hold this model.")
@json_option
def command(model_path: Path | None, as_json: bool) -> None:
    """List the boards with their parts, clocks and programmers, and the presets that fit each.

    Sizes are estimates (derived, nothing is built): core, registers and host link together.
    """
    model = load_model(model_path) if model_path else None
    rows = {name: _facts(board, model) for name, board in BOARDS.items()}

    def render(console: Console) -> None:
        table = Table(box=None, pad_edge=False)
        for column in ("board", "part", "LUT sites", "block RAM", "DSP", "clock", "presets that fit"):
            table.add_column(
                column,
                justify="right" if column in ("LUT sites", "block RAM", "DSP", "clock") else "left",
                no_wrap=column in ("board", "part"),
            )
        for name, row in rows.items():
            there = row["available"]
            fits = ", ".join(f"{preset} ({use:.0%})" for preset, use in row["presets"].items())
            table.add_row(
                name, f"{row['part']}-{row['speed_grade']}", str(there["LUT sites"]), str(there["block RAM"]),
                str(there["multipliers"]), f"{row['mhz']:g} MHz",
                fits or "none" + (f" that holds {model.name}" if model else ""),
            )  # fmt: skip
        console.print(table)
        console.print("in brackets: share of the scarcest resource (derived); 'rtlformer build' measures")
        for name, row in rows.items():
            default = " The default." if name == DEFAULT else ""
            console.print(f"{name}: {row['title']}; programmer {row['programmer']}. {row['note']}{default}")

    show(rows, as_json, render)


def _facts(board: Board, model: QuantModel | None) -> dict:
    presets = {
        name: round(max(room.needed / room.available for room in needs(PRESETS[name], board)), 3)
        for name in fitting_presets(board, model)
    }
    return {
        "title": board.title,
        "part": board.part.name,
        "package": board.package,
        "speed_grade": board.speed_grade,
        "available": {
            "LUT sites": board.part.lut4,
            "multipliers": board.part.multipliers,
            "block RAM": board.part.block_ram,
        },
        "input_mhz": board.clock_hz / 1e6,
        "mhz": board.mhz,
        "baud": board.baud,
        "presets": presets,
        "programmer": board.programmer.tool,
        "pins": {pin.port: pin.site for pin in board.pins},
        "note": board.note,
    }
