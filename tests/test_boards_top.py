# SPDX-License-Identifier: Apache-2.0
"""boards/top.py in simulation: every board's very top, PLL model apart, from its pins, used by the host's driver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boards.board import BOARDS, Board
from boards.pll import fastest
from boards.route import emit_top
from gen.emit.buildfacts import BOARD_VERILOG
from gen.emit.manifest import Design, open_design, write_design
from gen.emit.verilog import model_hash
from gen.link.device import Device
from gen.link.errors import NoAnswer
from gen.link.simulated import simulated_board
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from gen.verify.ladder import verify
from hw.config import preset
from sim.board.line import DirectLine
from sim.reference import forward
from tests.built_folder import write_build
from tests.emission import UNNAMED

BAUD = 3_000_000


def design(folder: Path, board: Board, inverted: bool = False) -> Design:
    """A folder as build leaves it for ``board``, but for what place and route make; ``inverted``: a wrong button."""
    model = random_model(hidden=8, heads=2, ffn=16, tokens=6, classes=3)
    image, pll = compile_model(model, preset("tiny")), fastest(board.clock_hz, 24_000_000)
    write_design(folder, model, image)
    top = emit_top(image.config, board=board, pll=pll, baud=BAUD, model_hash=model_hash(image.memories))
    assert not UNNAMED.findall(top)
    pins = [
        {"port": pin.port, "site": pin.site, "inverted": pin.inverted ^ (inverted and pin.port == "button")}
        for pin in board.pins
    ]
    write_build(folder, board, files={BOARD_VERILOG: top}, pll=pll, baud=BAUD, pins=pins)
    return open_design(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_a_boards_own_top_runs_its_model(tmp_path: Path, name: str):
    made = design(tmp_path, BOARDS[name])
    inputs = [random_rows(made.model, tokens, seed=tokens) for tokens in (6, 3, 5)]
    expected = [forward(made.model, x)["output"] for x in inputs]
    with simulated_board(made) as board:
        assert (board.clock_hz, board.baud) == (24_000_000, BAUD)
        with Device(DirectLine(board)) as device:
            assert device.identity.clock_hz == board.clock_hz and not device.load(made)  # it is in the memories
            for y, wanted in zip(device.run_all(inputs), expected, strict=True):
                np.testing.assert_array_equal(y, wanted)
            board.reset()  # the button, held for four cycles; reset outlasts it
            board.run(1000)
            for y, wanted in zip(device.run_all(inputs), expected, strict=True):
                np.testing.assert_array_equal(y, wanted)
    ladder = verify(made, inputs, rungs=["golden", "board"])
    assert ladder.holds and name in ladder.rungs[-1].what


@pytest.mark.slow
def test_a_board_that_never_leaves_its_reset_is_noticed(tmp_path: Path):
    made = design(tmp_path, BOARDS["ulx3s-25f"], inverted=True)  # so a button that nobody touches is pressed
    with simulated_board(made) as board, pytest.raises(NoAnswer):
        Device(DirectLine(board), timeout=0.002)
