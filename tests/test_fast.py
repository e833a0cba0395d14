# SPDX-License-Identifier: Apache-2.0
"""The fast simulator, on a small device with the ports of a core."""

import signal
import threading
import time

import numpy as np
import pytest

from hw.stream import StreamBuffer
from hw.verilog import to_verilog
from sim.fast import Deadlock, FastSim, Timeout
from tests.mock_core import Adder


@pytest.fixture(scope="module")
def verilog():
    return to_verilog(Adder())


def frames(count, length, seed=1):
    return np.random.default_rng(seed).integers(0, 1 << 40, size=(count, length), dtype=np.uint64)


def check(outputs, data):
    assert (outputs.data[0::2] == data.sum(axis=1)).all()
    assert (outputs.data[1::2] == data.shape[1]).all()
    assert (outputs.last == np.tile([False, True], len(data))).all()
    assert (np.diff(outputs.cycle.astype(np.int64)) > 0).all()


def test_words_pass_both_ways_one_a_cycle(verilog):
    data = frames(20, 5)
    with FastSim(verilog) as sim:
        sim.set(run=1, seq_len=5)
        assert sim.load(data.ravel()) == 20 * 5 + 19 * 2 - 1  # seven cycles a frame; counted from cycle 0
        check(sim.collect(40), data)
        assert sim.cycle == 20 * 7
        sim.step(3)
        assert (sim.cycle, sim.unread, sim.frames_done) == (20 * 7 + 3, 0, 20)


@pytest.mark.parametrize(("inputs", "outputs", "seed"), [(0.5, 0.0, 1), (0.0, 0.5, 2), (0.8, 0.8, 3)])
def test_stalls_change_the_timing_only(verilog, inputs, outputs, seed):
    data = frames(200, 5)
    cycles = []
    for _ in range(2):
        with FastSim(verilog) as sim:
            sim.stall(inputs=inputs, outputs=outputs, seed=seed)
            sim.set(run=1, seq_len=5)
            sim.push(data.ravel())
            check(sim.collect(400), data)
            cycles.append(sim.cycle)
    assert cycles[0] == cycles[1]
    fewest = 200 * (5 / (1 - inputs) + 2 / (1 - outputs))
    assert 0.9 * fewest < cycles[0] < 1.1 * fewest


def test_logs(verilog):
    data = frames(4, 3)
    with FastSim(verilog, trace=["drain", "norm", "scores"]) as sim:
        sim.set(run=1, seq_len=3)
        sim.push(data.ravel())
        assert sim.wait_frames(4) == 4 * 5 + 1
        cycles, busy = sim.timeline()
        assert cycles.tolist() == [5 * i + d for i in range(4) for d in (1, 3, 5)]
        assert busy.tolist() == [1, 2, 0] * 4
        done, number = sim.frames()
        assert (done.tolist(), number.tolist()) == ([5, 10, 15, 20], [1, 2, 3, 4])
        cycles, words = sim.trace("drain")
        assert cycles.tolist() == [5 * i + d for i in range(4) for d in (0, 1, 2)]
        assert (words.reshape(-1).view(np.uint64) == data.ravel()).all()
        assert (sim.lanes("norm", 8, signed=True) == -3).all()
        total = (data.sum(axis=1) & 0xFFFFFF).astype(np.int64)
        lanes = sim.lanes("scores", 24, signed=False)
        assert (lanes == np.stack([total, np.full(4, 3), 0xFFFFFF - total], axis=1)).all()
        lanes = sim.lanes("scores", 24, signed=True)
        assert ((lanes - np.stack([total, np.full(4, 3), ~total], axis=1)) % (1 << 24) == 0).all()
        assert (lanes >= -(1 << 23)).all() and (lanes < 1 << 23).all()


def test_reset_starts_anew(verilog):
    with FastSim(verilog, trace=["norm"]) as sim:
        sim.set(run=1, seq_len=2)
        sim.push([1, 2, 3])
        sim.step(50)
        sim.reset()
        assert (sim.cycle, sim.unread, sim.frames_done, len(sim.timeline()[0]), len(sim.trace("norm")[0])) == (0,) * 5
        sim.set(run=1, seq_len=2)
        sim.push([10, 20])
        assert sim.collect(2).data.tolist() == [30, 2]


def test_two_simulations_are_independent(verilog):
    with FastSim(verilog) as one, FastSim(to_verilog(Adder(probe=False))) as two:
        for sim, length in ((one, 1), (two, 2)):
            sim.set(run=1, seq_len=length)
            sim.push([5, 6])
        assert one.collect(4).data.tolist() == [5, 1, 6, 1]
        assert two.collect(2).data.tolist() == [11, 2]
        assert (one.cycle, two.cycle) == (6, 4)


def test_waiting_for_nothing_is_noticed(verilog):
    with FastSim(verilog, idle_limit=1000) as sim:
        sim.set(run=1, seq_len=3)
        sim.push([1, 2])
        with pytest.raises(Deadlock, match=r"no event for 1000 cycles .* waiting for 2 output words: busy 0b00000001"):
            sim.collect(2)
        sim.push([3])
        assert sim.collect(2).data.tolist() == [6, 3]  # and the simulation goes on
        with pytest.raises(Timeout, match=r"limit of 500 cycles used up at cycle \d+, waiting for frames_done = 9"):
            sim.wait_frames(9, limit=500)


def test_progress_is_told(verilog):
    told = []
    with FastSim(verilog, progress=told.append) as sim:
        sim.step(10_000_000)
    assert told and all(a.cycle < b.cycle for a, b in zip(told, told[1:], strict=False))
    assert told[-1].cycles_per_second > 100_000


def test_ctrl_c_acts_at_once(verilog):
    with FastSim(verilog) as sim:
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            sim.step(1 << 40)
        assert time.monotonic() - start < 5
        timer.join()
        sim.set(run=1, seq_len=1)
        sim.push([7])
        assert sim.collect(2).data.tolist() == [7, 1]


def test_design_without_probe_and_unknown_probe(verilog):
    with FastSim(to_verilog(Adder(probe=False))) as sim:
        assert not sim.probes
    with pytest.raises(ValueError, match="no probe 'softmax', only: drain, norm, scores"):
        FastSim(verilog, trace=["softmax"])


def test_other_ports_are_refused():
    with pytest.raises(ValueError, match=r"has not the ports of a core, missing or unknown: .*busy \(8 bit\)"):
        FastSim(to_verilog(StreamBuffer(8)))


def lz4_decompress(data):
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        while nibble == 15 and (byte := data[at]) is not None:
            at += 1
            total += byte
            if byte != 255:
                break
        return total

    while True:
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at == len(data):
            return bytes(out)
        offset = int.from_bytes(data[at : at + 2], "little")
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])


def test_waves(verilog, tmp_path):
    """The file's blocks are whole, and its compressed list of signals unpacks: the LZ4 stand-in is right."""
    path = tmp_path / "waves.fst"
    with FastSim(verilog, waves=path) as sim:
        sim.set(run=1, seq_len=4)
        sim.load(np.arange(400))
        assert not path.exists()
    content, at, blocks = path.read_bytes(), 0, {}
    while at < len(content):
        size = int.from_bytes(content[at + 1 : at + 9], "big")
        blocks[content[at]] = content[at + 9 : at + 1 + size]
        at += 1 + size
    assert at == len(content)
    size = int.from_bytes(blocks[6][:8], "big")  # block type 6: the hierarchy, packed by LZ4
    names = lz4_decompress(blocks[6][8:])
    assert len(names) == size
    assert b"frames_done" in names and b"probe_drain_data" in names
    first, last = (int.from_bytes(blocks[0][i : i + 8], "big") for i in (0, 8))  # block type 0: the header
    assert last - first >= 10 * 400


def test_unwritable_waves(verilog, tmp_path):
    with pytest.raises(OSError, match="missing"):
        FastSim(verilog, waves=tmp_path / "missing" / "waves.fst")
