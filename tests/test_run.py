# SPDX-License-Identifier: Apache-2.0
"""``rtlformer run`` and ``rtlformer board-sim``."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tty
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gen.atomic import output_folder
from gen.cli.app import run
from gen.cli.common import fitted
from gen.emit.manifest import open_design, write_design
from gen.emit.verilog import model_hash
from gen.link.device import BAUD, Device
from gen.link.errors import NoAnswer
from gen.link.simulated import CLOCK_HZ, TOP, board_verilog, simulated_board
from gen.link.transport import SerialTransport
from gen.model.checkpoint import read_checkpoint
from gen.model.quantize import integer_inputs, quantise
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from hw.config import CoreConfig, preset
from hw.link.board import BoardCore
from hw.program.loads import Target
from hw.verilog import to_verilog
from sim.board import SimulatedBoard
from sim.board.terminal import Terminal
from sim.reference import forward
from tests.commandline import stand_in
from tests.link_board import with_memories_of

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"


@cache
def model(seed: int = 0):
    return random_model(hidden=8, heads=2, ffn=16, tokens=6, classes=3, pixels=4, seed=seed)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """Accelerators "a" and "b" of one configuration, "c" of another, without Verilog of the core; inputs "x.npy"."""
    folder = tmp_path_factory.mktemp("workshop")
    config = fitted(model(), CoreConfig(rows=2, cols=2, depth=4))
    for name, seed, cfg in (("a", 0, config), ("b", 1, config), ("c", 0, preset("tiny"))):
        with output_folder(folder / name) as work:
            write_design(work, model(seed), compile_model(model(seed), cfg), stand_in(cfg))
    np.save(folder / "x.npy", np.stack([random_rows(model(), 6, seed) for seed in range(12)]))
    return folder


def call(capsys, *arguments: object, status: int = 0) -> str:
    assert run([str(argument) for argument in arguments]) == status, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys, *arguments: object) -> str:
    """The line that a command line ends with, whose status must be 2."""
    assert run([str(argument) for argument in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rtlformer: ")]
    assert len(lines) == 1
    return lines[0]


def test_ports_that_are_absent_or_none(workshop, tmp_path, capsys):
    command = ["run", workshop / "a", "--input", workshop / "x.npy"]
    assert "/dev/none: no such port; " in refused(capsys, *command, "--port", "/dev/none")
    (tmp_path / "file").touch()
    assert "file: is no serial port (" in refused(capsys, *command, "--port", tmp_path / "file")
    assert "--port: no such port" in refused(capsys, *command, "--port", "")
    assert "--baud" in refused(capsys, *command, "--port", "sim", "--baud", 99_999_999_999)
    assert "there is nothing to run; give --input or --self-test" in refused(
        capsys, "run", workshop / "a", "--port", "sim"
    )
    for option in (["-o", tmp_path / "y.npy"], ["--compare"]):
        words = refused(capsys, "run", workshop / "a", "--port", "sim", "--self-test", *option)
        assert "there are no results for -o or --compare; give --input" in words
    assert "Missing option '--port'" in refused(capsys, *command)


@pytest.fixture
def dead(monkeypatch):
    """A port that never answers, and whose clock jumps over what is waited for; :meth:`read` may give it noise."""
    master, slave = os.openpty()
    tty.setraw(slave)
    now = [0.0]

    def read(self, seconds):
        now[0] += seconds
        return b""

    monkeypatch.setattr(SerialTransport, "read", read)
    monkeypatch.setattr(SerialTransport, "clock", lambda self: now[0])
    yield os.ttyname(slave), now
    os.close(master)
    os.close(slave)


def test_a_port_that_never_answers_is_named_in_time(workshop, dead, capsys):
    """After 15 s where it may be a simulation, 3 s otherwise, or what --timeout says; from the first second on it is
    said that there is no answer yet."""
    port, now = dead
    command = ["run", str(workshop / "a"), "--port", port, "--self-test"]
    for options, end in (([], 15), (["--timeout", "40.5"], 40.5), (["--timeout", "2"], 2)):
        start = now[0]
        assert run(command + options) == 2
        lines = capsys.readouterr().err.splitlines()
        assert end <= now[0] - start < end + 0.1
        assert f"{port}: no answer yet; given up after {end} s" in lines
        assert f"no answer to HELLO in {-(-end // 10):.0f} tries and {end} s; check cable" in lines[-1]
    with pytest.raises(NoAnswer, match="in 12 tries and 3 s"):
        Device(SerialTransport(port, BAUD))
    assert "'--timeout'" in refused(capsys, *command, "--timeout", 0)


def test_a_port_that_sends_random_bytes_is_named_in_time(workshop, dead, capsys, monkeypatch):
    port, now = dead
    draw = random.Random(1)

    def noise(self, seconds):
        now[0] += min(seconds, 0.05)
        return draw.randbytes(500)

    monkeypatch.setattr(SerialTransport, "read", noise)
    line = refused(capsys, "run", workshop / "a", "--port", port, "--self-test")
    assert 15 <= now[0] < 15.1
    assert "bytes that are no answer to HELLO in 2 tries and 15 s; check cable, power, --baud" in line


@pytest.mark.slow
def test_run_on_a_simulated_board(workshop, tmp_path, capsys):
    """The board of "a" runs the models of "a" and "b"; that of "c" is refused; the port is busy."""
    x = np.load(workshop / "x.npy")
    with Terminal(simulated_board(open_design(workshop / "a"))) as terminal:
        common = ["--port", terminal.path, "--input", workshop / "x.npy", "--json"]
        for name, loaded in (("a", False), ("b", True), ("b", False), ("a", True)):
            text = call(capsys, "run", workshop / name, *common, "-o", tmp_path / "y.npy", "--force", "--compare")
            result = json.loads(text)
            golden = [forward(model("ab".index(name)), row)["output"].tolist() for row in x]
            assert np.load(tmp_path / "y.npy").tolist() == golden
            assert result["loaded"] is loaded and result["differences"] == [] and result["compared"] == len(x)
            assert result["core"]["results_per_second"] > result["link"]["results_per_second"] > 0
            assert result["counters"]["FRAMES_DONE"] == len(x)
        line = refused(capsys, "run", workshop / "c", *common)
        assert "wrong bitstream on the board: its core is 2x2x4 " in line and "flash the matching one" in line
        line = refused(capsys, "run", workshop / "a", *common, "-o", workshop / "x.npy")
        assert "exists already" in line
        text = call(capsys, "run", workshop / "a", *common[:-1], "--self-test", "--limit", 9, "--compare", "--reload")
        assert "model random-0 loaded" in text and "on the link (3 Mbaud): " in text and "on the core: " in text
        assert "self-test: 4108 values" in text and "... and 1 more" in text and "9 results compared" in text
        holder = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert "another program uses this port; close it" in refused(capsys, "run", workshop / "a", *common)
        os.close(holder)


@pytest.mark.slow
def test_a_damaged_model_is_found_and_mended(workshop, capsys):
    """A word of the memories is another one, and no register says so: --self-test does, with status 1."""
    design = open_design(workshop / "a")
    changed = {target: list(words) for target, words in design.image.memories.items()}
    changed[Target.W][0] ^= 0xFF
    rates = {"clock_hz": CLOCK_HZ, "baud": BAUD}
    board = BoardCore(design.config, changed, model_hash=model_hash(design.image.memories), **rates)
    text = with_memories_of(board_verilog(design), to_verilog(board, name=TOP))
    with Terminal(SimulatedBoard(text, top=TOP, **rates)) as terminal:
        command = ["run", str(workshop / "a"), "--port", terminal.path, "--self-test"]
        assert run([*command, "--json"]) == 1
        said = capsys.readouterr()
        assert json.loads(said.out)["loaded"] and "core test: " in json.loads(said.out)["damage"]
        assert said.err.splitlines()[-1].startswith(
            "rtlformer: the model that the board held was damaged; it has been loaded anew ("
        )
        assert json.loads(call(capsys, *command, "--json"))["damage"] is None
        assert "self-test: 4108 values came back as they should" in call(capsys, *command)


@pytest.mark.slow
def test_board_sim_is_a_port_for_any_program(workshop, capsys):
    """Run by its printed path; it ends by Ctrl-C, with one line."""
    command = [sys.executable, "-m", "gen", "board-sim", str(workshop / "a"), "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as board:
        told = ""
        while not told.endswith("}\n"):
            line = board.stdout.readline()
            assert line, board.stderr.read()
            told += line
        port = json.loads(told)["port"]
        for _ in range(2):
            text = call(capsys, "run", workshop / "a", "--port", port, "--input", workshop / "x.npy", "--compare")
            assert "12 results compared with the golden model: all equal" in text
        board.send_signal(signal.SIGINT)
        assert board.stderr.read().splitlines()[-1] == "rtlformer: interrupted; earlier outputs are as they were"
        assert board.wait(60) == 130
    assert "no such port" in refused(capsys, "run", workshop / "a", "--port", port, "--input", workshop / "x.npy")


@pytest.mark.slow
def test_the_digits_test_split_through_a_simulated_board(tmp_path, capsys):
    """Every logit of every test image equals the golden model's, through the pins of the complete board."""
    checkpoint = read_checkpoint(DIGITS / "checkpoint")
    digits = quantise(checkpoint, np.load(DIGITS / "calibration.npy"))
    with output_folder(tmp_path / "digits") as work:
        write_design(work, digits, compile_model(digits, preset("edge")), stand_in(preset("edge")))
    inputs = integer_inputs(checkpoint, digits, np.load(DIGITS / "test_images.npy"))
    assert len(inputs) >= 360
    text = call(
        capsys, "run", tmp_path / "digits", "--port", "sim", "--checkpoint", DIGITS / "checkpoint", "--input",
        DIGITS / "test_images.npy", "-o", tmp_path / "y.npy", "--json",
    )  # fmt: skip
    result, logits = json.loads(text), np.load(tmp_path / "y.npy")
    assert (
        result["inputs"] == len(inputs)
        and result["loaded"] is False
        and result["counters"]["FRAMES_DONE"] == len(inputs)
    )
    assert (logits == np.stack([forward(digits, x)["output"] for x in inputs])).all()
    assert result["link"]["repeated_requests"] == 0
    labels = np.load(DIGITS / "test_labels.npy")
    assert np.mean(logits.argmax(-1) == labels) >= 0.98
    assert result["core"]["cycles"] / len(inputs) < 1.05 * 17_600  # the core is never kept waiting by the link
