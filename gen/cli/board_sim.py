# SPDX-License-Identifier: Apache-2.0
"""``rtlformer board-sim``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from gen.cli.common import json_option, show, step
from gen.emit.manifest import open_design
from gen.link.simulated import simulated_board
from sim.board.terminal import Terminal


@click.command(
    "board-sim",
    short_help="Simulate a whole board behind a pseudo-terminal.",
    epilog="\b\nExample:\n  rtlformer board-sim build/digits\n"
    "and in another terminal, with the path that it prints:\n"
    "  rtlformer run build/digits --port /dev/pts/3 --checkpoint examples/digits/checkpoint \\\n"
    "      --input examples/digits/test_images.npy --limit 8",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Run the board of DIR (from 'rtlformer generate' or 'build'), UART and all, in the fast simulator, until Ctrl-C.

    Any program can open the pseudo-terminal whose path is printed as if it were a board's serial port; its baud rate
    does not matter. Programs may come and go.
    """
    design = open_design(folder)
    with step("building the simulated board") as tell:
        board = simulated_board(design, building=tell)
    with Terminal(board) as terminal:
        result = {"port": terminal.path, "model": design.model.name, "array": design.config.array,
                  "clock_hz": board.clock_hz, "baud": board.baud}  # fmt: skip

        def render(console: Console) -> None:
            console.print(f"{terminal.path}: {design.config.array} core with {design.model.name}; Ctrl-C ends it")

        show(result, as_json, render)
        sys.stdout.flush()
        terminal.wait()
