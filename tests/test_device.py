# SPDX-License-Identifier: Apache-2.0
"""The driver on a simulated board: results, models loaded at run time, faults of every kind, hosts that are killed."""

import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from gen.cli.common import fitted
from gen.emit.manifest import Design
from gen.emit.selftest import make_self_test
from gen.emit.verilog import model_hash
from gen.errors import InputError
from gen.link.connection import Connection
from gen.link.device import Device
from gen.link.errors import (
    BoardReset,
    CoreRefused,
    CoreStalled,
    LinkError,
    LoadFailed,
    NotABoard,
    PortAbsent,
    PortBusy,
    PortLost,
    SelfTestFailed,
    WrongBoard,
)
from gen.link.simulated import TOP
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from hw.config import CoreConfig
from hw.core import BUSY_BITS
from hw.host.registers import register
from hw.io.targets import packet_header
from hw.link.board import BoardCore
from hw.program.loads import Target
from hw.verilog import to_verilog
from sim.board import SimulatedBoard
from sim.board.line import DirectLine
from sim.board.terminal import Terminal
from sim.reference import forward
from tests.link_board import RATES, FaultyLine, Killed, Loopback, with_memories_of

pytestmark = pytest.mark.slow  # the board is built from a whole core

ROOT = Path(__file__).resolve().parents[1]
SHAPE = {"hidden": 8, "heads": 2, "ffn": 16, "tokens": 6, "classes": 3, "pixels": 4}
SHORT = {"patience": 3e-4, "timeout": 9 * 3e-4, "stall": 0.02}
"""Seconds of simulated time."""


@cache
def model(seed: int = 0):
    return random_model(**SHAPE, seed=seed)


@cache
def config() -> CoreConfig:
    return fitted(model(), CoreConfig(rows=2, cols=2, depth=4))


@cache
def image(seed: int = 0):
    return compile_model(model(seed), config())


@cache
def inputs() -> list:
    return [random_rows(model(), 2 + number % 5, seed=number) for number in range(40)]


@cache
def golden(seed: int = 0) -> list:
    return [forward(model(seed), x)["output"].tolist() for x in inputs()]


@pytest.fixture(scope="module")
def verilog() -> str:
    """A board with model 0 in its memories."""
    images = {target: list(words) for target, words in image().memories.items()}
    return to_verilog(BoardCore(config(), images, model_hash=model_hash(image().memories), **RATES), name=TOP)


@pytest.fixture
def board(verilog):
    with SimulatedBoard(verilog, top=TOP, **RATES) as board:
        yield board


def lists(results) -> list:
    return [result.tolist() for result in results]


def test_identity_results_and_counters(board):
    with Device(DirectLine(board), **SHORT) as device:
        assert device.identity.config == config() and device.identity.clock_hz == RATES["clock_hz"]
        with pytest.raises(InputError, match="no model is loaded; call load first"):
            device.run(inputs()[0])
        assert device.load(image()) is False
        told = []
        assert lists(device.run_all(inputs(), progress=lambda *state: told.append(state))) == golden()
        assert told == [(n + 1, 40) for n in range(40)]
        measured, counters = device.measured, device.counters()
        assert counters["FRAMES_DONE"] == measured.inputs == 40 and measured.repeated == 0
        assert 0 < measured.core_cycles < measured.cycles <= counters["CYCLES"]
        assert {f"BUSY_{name.upper()}" for name in BUSY_BITS} < counters.keys()
        assert measured.core_rate > measured.link_rate > 100
        assert device.run(inputs()[7]).tolist() == golden()[7]
        with pytest.raises(InputError, match="the shape must be"):
            device.run(inputs()[0][:, :2])
        assert device.run_all([]) == []
    assert board.leds & 2  # connected


def test_another_model_is_loaded_once_and_outlives_a_reset(board):
    """MODEL_HASH tells which model is there: the bitstream's, ours, or, after a load cut short, none."""
    with Device(DirectLine(board), **SHORT) as device:
        told = []
        assert device.load(image(1), progress=lambda *state: told.append(state)) is True
        assert told[-1][0] == told[-1][1] and len(told) > 3
        assert lists(device.run_all(inputs())) == golden(1) != golden()
        board.reset()
        assert lists(device.run_all(inputs()[:5])) == golden(1)[:5]
        assert device.load(image(1)) is False
        assert device.load(image(0)) is True
        assert device.load(image(0), force=True) is True
        assert lists(device.run_all(inputs()[:5])) == golden()[:5]

    class Stop(Exception):
        pass

    def stop(done, total):
        if done > total // 2:
            raise Stop

    with Device(DirectLine(board), **SHORT) as device:
        with pytest.raises(Stop):
            device.load(image(1), progress=stop)
        with pytest.raises(InputError, match="no model is loaded"):
            device.run(inputs()[0])
        assert device.load(image(0)) is True
        assert lists(device.run_all(inputs()[:3])) == golden()[:3]


def test_a_program_for_another_configuration_is_refused(board):
    other = compile_model(model(), replace(config(), slots=8))
    with Device(DirectLine(board), **SHORT) as device:
        with pytest.raises(
            WrongBoard, match=r"wrong bitstream on the board: its core is 2x2x4 .* flash the matching one"
        ):
            device.load(other)
        assert device.load(image()) is False
        assert device.run(inputs()[0]).tolist() == golden()[0]


def test_a_dense_board():
    """With the small buffers of a small part: results wait for their turn, one or two at a time."""
    dense = replace(config(), dense=True)
    own = compile_model(model(), dense)
    images = {target: list(words) for target, words in own.memories.items()}
    verilog = to_verilog(BoardCore(dense, images, model_hash=model_hash(own.memories), **RATES), name=TOP)
    with SimulatedBoard(verilog, top=TOP, **RATES) as board, Device(DirectLine(board), **SHORT) as device:
        assert device.identity.config == dense
        assert device.load(own) is False
        assert lists(device.run_all(inputs())) == golden()
        with pytest.raises(WrongBoard):
            device.load(image())


def test_what_is_no_core_is_refused():
    with (
        SimulatedBoard(to_verilog(Loopback()), **RATES) as other,
        pytest.raises(NotABoard, match=r"answers, but is no rtlformer core \(ID 00000000\)"),
    ):
        Device(DirectLine(other), **SHORT)


def design(seed: int = 0) -> Design:
    return Design(
        folder=Path(), manifest={"predicted": {"single_cycles": 2000}}, verilog="", model=model(seed),
        image=image(seed), self_test=make_self_test(model(seed)),
    )  # fmt: skip


def test_self_test(board, monkeypatch):
    monkeypatch.setattr("gen.link.device._ECHOES", 2)
    with Device(DirectLine(board), **SHORT) as device:
        assert device.self_test() == 2048
        assert device.self_test(design()) == 2048 + 4 * 3
        other = replace(design(), self_test=design(1).self_test)
        with pytest.raises(SelfTestFailed, match=r"core test: \d+ of 12 results differ from the golden model; load"):
            device.self_test(other)
        with pytest.raises(SelfTestFailed, match=r"core test: \d+ of 12 results differ"):
            device.load(other)  # it is loaded in vain
        with pytest.raises(InputError, match="no model is loaded"):
            device.run(inputs()[0])
        monkeypatch.setattr(Connection, "echo", lambda self, data: data[:-1] + b"?")
        with pytest.raises(SelfTestFailed, match="link test: 1 of 1024 bytes came back wrong"):
            device.self_test()


def test_a_model_whose_memory_has_changed_is_found(verilog):
    """A word of W is another one, and every register says what it should: as after a flipped bit. The self-test finds
    it; a load puts it right, where there is time to try the model."""
    memories = {target: list(words) for target, words in image().memories.items()}
    memories[Target.W][0] ^= 0xFF
    changed = to_verilog(BoardCore(config(), memories, model_hash=model_hash(image().memories), **RATES), name=TOP)
    with SimulatedBoard(with_memories_of(verilog, changed), top=TOP, **RATES) as board:
        with Device(DirectLine(board), **SHORT) as device:
            assert device.load(image()) is False
            assert device.run(inputs()[0]).tolist() != golden()[0]  # nothing but trying tells
            with pytest.raises(SelfTestFailed, match=r"core test: \d+ of 12 results differ from the golden model"):
                device.self_test(design())
            assert device.load(design()) is True and "core test: " in device.damage
            assert lists(device.run_all(inputs())) == golden()
            assert device.self_test(design()) == 4096 + 12
            assert device.load(design()) is False and device.damage is None


def packet(target: Target, *words: int, address: int = 0) -> bytes:
    header = packet_header(target, address=address, count=len(words))
    return b"".join(word.to_bytes(8, "little") for word in (header, *words))


def test_what_another_host_has_written_to_the_memories_is_found(board):
    """Even if it says that the model is there: LOAD_CRC knows better."""
    low, wanted = register("MODEL_HASH_LO").index, model_hash(image().memories)
    with Device(DirectLine(board), **SHORT) as device:
        assert device.load(image()) is False and device.damage is None
        device._link.push(packet(Target.W, 0xFF))
        assert device._link.read(low, 2) == [0, 0]
        device._link.write((low, wanted & 0xFFFFFFFF), (low + 1, wanted >> 32))
    with Device(DirectLine(board), **SHORT) as device:
        assert device.load(image()) is True
        assert re.search("MODEL_HASH is that of model random-0, and LOAD_CRC .*, not ", device.damage)
        assert lists(device.run_all(inputs()[:9])) == golden()[:9]
        assert device.load(image()) is False and device.damage is None


def test_what_the_core_refuses_is_named(board):
    """Between the words of a run, or of a load: no result is given; afterwards the board is as good as before."""
    with Device(DirectLine(board), **SHORT) as device:
        device.load(image())
        push = device._link.push
        for stray, named in (
            (packet(Target.W, 1, address=config().w_words), "range: words of a load packet beyond the end"),
            (packet(Target.W, 1, address=1 << 23), "range: "),
            ((0xF).to_bytes(8, "little"), "header: a load packet for no memory"),
        ):
            for work in (lambda: device.run(inputs()[0]), lambda: device.load(image(), force=True)):
                before = [stray]
                device._link.push = lambda data, before=before: (data and before and push(before.pop()), push(data))[1]
                with pytest.raises(CoreRefused, match=rf"the core refused what it was sent \({named}"):
                    work()
                device._link.push = push
                device.load(image())
                assert lists(device.run_all(inputs()[:3])) == golden()[:3]


def test_a_load_that_arrives_altered_is_named(board):
    with Device(DirectLine(board), **SHORT) as device:
        push, flips = device._link.push, [1 << 100]
        flip = lambda data: (int.from_bytes(data, "little") ^ flips.pop()).to_bytes(len(data), "little")  # noqa: E731
        device._link.push = lambda data: push(flip(data) if data and flips else data)
        with pytest.raises(
            LoadFailed, match=r"LOAD_CRC is \w{8} after loading model random-1, and must be \w{8}; load"
        ):
            device.load(image(1))
        with pytest.raises(InputError, match="no model is loaded"):
            device.run(inputs()[0])
        assert device.load(image(1)) is True
        assert lists(device.run_all(inputs()[:3])) == golden(1)[:3]


def test_a_core_that_stalls_is_named_and_can_be_used_again(board):
    """A packet that promises more words than come: the core waits, the link does not."""
    with Device(DirectLine(board), **SHORT) as device:
        device.load(image())
        push = device._link.push
        device._link.push = lambda data: push(data[:-8]) if data else push(data)
        with pytest.raises(CoreStalled, match=r"gives no result for 1 of 1 inputs \(STATUS 0x"):
            device.run(inputs()[0])
        device._link.push = push
        assert lists(device.run_all(inputs()[:4])) == golden()[:4]


def test_a_board_that_keeps_resetting_is_named(board):
    with Device(DirectLine(board), **SHORT) as device:
        device.load(image())
        pull = device._link.pull
        device._link.pull = lambda words: (board.reset(), pull(words))[1]
        with pytest.raises(BoardReset, match=r"has been reset, .* \(4 times in a row"):
            device.run_all(inputs())
        device._link.pull = pull
        assert lists(device.run_all(inputs()[:2])) == golden()[:2]


def test_faults_of_every_kind(board):
    """At least 1000 frames with faults drawn at random: no result is ever wrong, every run ends, the next one works."""
    draw, line, device = random.Random(11), FaultyLine(board, seed=12, rate=0.2, resets=0.008), None
    finished = 0
    while line.frames < 1100:
        try:
            device = device or Device(line, **SHORT)
            device.load(image())
            first = draw.randrange(30)
            count = draw.randint(1, 10)
            assert lists(device.run_all(inputs()[first : first + count])) == golden()[first : first + count]
            finished += 1
        except LinkError as error:
            assert str(error).startswith("FaultyLine: ")
            if draw.random() < 0.5:
                device = None
    assert line.faults.keys() == {
        *(f"request: {kind}" for kind in line.REQUEST),
        *(f"answer: {kind}" for kind in line.ANSWER),
        "board reset",
    }
    assert finished >= 20 and line.faults["board reset"] >= 5
    with Device(DirectLine(board), **SHORT) as device:
        device.load(image())
        assert lists(device.run_all(inputs()[:5])) == golden()[:5]


def test_hosts_killed_anywhere(board):
    """In loads, runs and counters: whatever the next host runs is right, and nobody resets the board for it."""
    draw, line = random.Random(13), FaultyLine(board, seed=14, rate=0.0, kills=0.05)
    kills = 0
    while kills < 40:
        seed = draw.randrange(2)
        try:
            device = Device(line, **SHORT)
            device.load(image(seed))
            first = draw.randrange(30)
            assert lists(device.run_all(inputs()[first : first + 6])) == golden(seed)[first : first + 6]
        except Killed:
            kills += 1
            board.run(draw.randrange(10_000))
    assert line.frames > 300


# --- through the pseudo-terminal

CHILD = """
import pickle, sys
from gen.link.device import Device
image, inputs = pickle.load(open(sys.argv[2], "rb"))
while True:
    with Device(sys.argv[1]) as device:
        device.load(image)
        print("running", flush=True)
        device.run_all(inputs * 20)
"""


def test_terminal(verilog, tmp_path):
    """Ports absent, busy and no port at all; a host killed by the system; a reset button; a board that goes."""
    with pytest.raises(PortAbsent, match=r"/dev/none: no such port; .* use --port sim"):
        Device("/dev/none")
    (tmp_path / "file").touch()
    with pytest.raises(PortAbsent, match="is no serial port"):
        Device(str(tmp_path / "file"))
    (tmp_path / "work").write_bytes(pickle.dumps((image(), inputs())))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    terminal = Terminal(SimulatedBoard(verilog, top=TOP, **RATES))
    with terminal:
        draw = random.Random(15)
        for _ in range(4):
            command = [sys.executable, "-c", CHILD, terminal.path, str(tmp_path / "work")]
            child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
            child.stdout.readline()
            with pytest.raises(PortBusy, match="another program uses this port"):
                Device(terminal.path)
            time.sleep(draw.uniform(0, 0.7))
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            with Device(terminal.path) as device:
                device.load(image())
                assert lists(device.run_all(inputs()[:8])) == golden()[:8]
                terminal.reset()
                assert lists(device.run_all(inputs()[:2])) == golden()[:2]
    with pytest.raises(PortAbsent):
        Device(terminal.path)


def test_a_port_that_goes_is_lost(verilog):
    with Terminal(SimulatedBoard(verilog, top=TOP, **RATES)) as terminal:
        device = Device(terminal.path)
        device.load(image())
    with pytest.raises(PortLost, match="the port has gone"):
        device.run_all(inputs())
    device.close()


def test_board_reset_keeps_the_model_hash_apart_from_the_model(board):
    """MODEL_HASH is 0 from the first word of a load to its last, whatever happens in between."""
    with Device(DirectLine(board), **SHORT) as device:
        low = register("MODEL_HASH_LO").index
        seen = set()
        device.load(image(1), progress=lambda *_: seen.add(tuple(device._link.read(low, 2))))
        assert seen == {(0, 0)}
        value = device._link.read(low, 2)
        assert value[1] << 32 | value[0] == model_hash(image(1).memories)
