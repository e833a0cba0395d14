# SPDX-License-Identifier: Apache-2.0
"""``rtlformer flash``."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import click
from rich.console import Console

from boards.board import Board, board
from boards.cli.build import MARKER
from gen.cli.common import json_option, show, step
from gen.errors import InputError
from gen.files import read_bytes


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

    Without --permanent, a ULX3S forgets it when it is switched off; an OrangeCrab always keeps it.
    """
    chosen, bitstream = open_build(folder)
    programmer = chosen.programmer
    with step(f"looking for {chosen.name}"):
        found = programmer.choose(device)
    with step(f"writing {bitstream.name} to {found}"):
        programmer.write(bitstream, found, permanent=permanent)
    kept = permanent or programmer.persistent
    result = {"board": chosen.name, "device": found, "bitstream": str(bitstream), "permanent": kept}

    def render(console: Console) -> None:
        console.print(f"{bitstream} is on {chosen.name} at {found}" + (", for good" if kept else ", until power-off"))
        console.print(f"try it: rtlformer run {folder} --port PORT --self-test ({chosen.note})")

    show(result, as_json, render)


def open_build(folder: Path) -> tuple[Board, Path]:
    """The board and the bitstream of a folder that 'rtlformer build' made.

    Raises
    ------
    InputError
        If it is none, or the bitstream is missing or altered.
    """
    again = "make it again with 'rtlformer build'"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make one with 'rtlformer build'")
    path = folder / MARKER
    if not path.is_file():
        raise InputError(f"{folder}: holds no {MARKER}, so no bitstream was built there; {again}")
    try:
        facts = json.loads(read_bytes(path))
        chosen, name, digest = board(facts["board"]), facts["bitstream"]["file"], facts["bitstream"]["sha256"]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: truncated or altered ({type(error).__name__}: {error}); {again}") from None
    bitstream = folder / str(name)
    if not bitstream.is_file():
        raise InputError(f"{bitstream}: missing; {again}")
    if sha256(read_bytes(bitstream)).hexdigest() != digest:
        raise InputError(f"{bitstream}: truncated or altered since it was built; {again}")
    return chosen, bitstream
