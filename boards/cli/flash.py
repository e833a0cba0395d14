# SPDX-License-Identifier: Apache-2.0
"""``rtlformer flash``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from boards.board import board
from boards.programmer import ToolCrashed
from gen.cli.app import CheckFailed
from gen.cli.common import json_option, show, step
from gen.emit.built import open_built


@click.command(
    "flash",
    short_help="Put a bitstream on a board.",
    epilog="\b\nExample:\n  rtlformer flash build/ulx3s",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--device", help="Which board, where several are plugged in, as the error message lists them.")
@click.option("--permanent", is_flag=True, help="Into the flash memory that the board starts from, not only its RAM.")
@json_option
def command(folder: Path, device: str | None, permanent: bool, as_json: bool) -> None:
    """Put the bitstream of DIR (from 'rtlformer build') on its board, by openFPGALoader or dfu-util.

    Without --permanent, a ULX3S forgets it when it is switched off; an OrangeCrab always keeps it. What openFPGALoader
    writes into flash memory it reads back and compares. Exit status 1 if the tool crashes after the write.
    """
    built = open_built(folder)
    chosen, bitstream = board(built.board), built.bitstream
    programmer = chosen.programmer
    with step(f"looking for {chosen.name}"):
        found = programmer.choose(device)
    crash = None
    with step(f"writing {bitstream.name} to {found}"):
        try:
            programmer.write(bitstream, found, permanent=permanent)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{chosen.name} may hold half of {bitstream.name}; flash it again") from None
        except ToolCrashed as error:
            crash = str(error)
    kept = permanent or programmer.persistent
    result = {"board": chosen.name, "device": found, "bitstream": str(bitstream), "permanent": kept, "crash": crash}
    check = f"rtlformer run {folder} --port PORT --self-test"

    def render(console: Console) -> None:
        console.print(f"{bitstream} is on {chosen.name} at {found}" + (", for good" if kept else ", until power-off"))
        console.print(f"try it: {check} ({chosen.note})")

    show(result, as_json, render if crash is None else lambda console: None)
    if crash:
        raise CheckFailed(f"{crash}; {bitstream.name} should be on {chosen.name}: check it with '{check}'")
