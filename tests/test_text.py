# SPDX-License-Identifier: Apache-2.0
"""Text from outside (labels, paths, what tools say) comes out as it was given, and commands no terminal."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.table import Table

from gen.cli.app import run
from gen.cli.common import show, show_markdown, step
from gen.cli.data import show_outputs
from gen.errors import InputError
from gen.model.modelfile import load_model, save_model
from gen.program.compiler import compile_model
from gen.text import one_line
from hw.config import preset
from tests.commandline import ROOT, quantize, small_model

CASES = [  # as given, as shown
    ("[/x]", "[/x]"),
    ("[red]warm", "[red]warm"),
    ("[neutral]", "[neutral]"),
    (":smile:", ":smile:"),
    ("\x1b[31mred\x1b]0;title\x07", "[31mred]0;title"),
    ("two\nlines", "two lines"),
    ("\u202egnp.exe", "gnp.exe"),
    ("a  b", "a  b"),
]
cases = pytest.mark.parametrize(("given", "shown"), CASES)


class Terminal(io.StringIO):
    """A standard stream that says that it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@cases
def test_one_line(given: str, shown: str):
    assert one_line(given) == shown
    assert str(InputError(given)) == shown


@cases
def test_reports_tables_and_progress(given: str, shown: str, capsys: pytest.CaptureFixture):
    def render(console) -> None:
        console.print(f"label {given}")
        table = Table(given, box=None)
        table.add_row(f"cell {given}")
        console.print(table)
        show_markdown(console, f"head\n{given.replace(chr(10), ' ')}")

    show({}, False, render)
    with step(f"working on {given}") as tell:
        tell(given)
    captured = capsys.readouterr()
    assert [line.strip() for line in captured.out.splitlines()] == [
        f"label {shown}",
        shown,
        f"cell {shown}",
        "head",
        shown,
    ]
    assert captured.err.startswith(f"working on {shown}: ") and captured.err.count("\n") == 1


@cases
def test_progress_on_a_terminal(given: str, shown: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with step(f"working on {given}") as tell:
        tell(f"note {given}", done=1, total=2)
    said = sys.stderr.getvalue()
    assert f"working on {shown}" in said and f"note {shown}" in said
    assert "\x07" not in said and "\x1b]" not in said and "\u202e" not in said


def test_labels(capsys: pytest.CaptureFixture):
    """As simulate and run print them; a simulator has no part in it."""
    for given, shown in CASES:
        model = dataclasses.replace(small_model(), labels=(given,) * 3)
        design = SimpleNamespace(model=model, image=compile_model(model, preset("tiny")))
        show({}, False, lambda console, design=design: show_outputs(console, design, [np.eye(3, dtype=np.int16)[1]]))
        assert capsys.readouterr().out.startswith(f"input 0: {shown}  [")


@pytest.mark.parametrize("name", ["[/x]", "a\nb", "\x1b[31m", "", "ü"])
def test_model_names_are_plain(name: str, tmp_path: Path):
    """They stand in Markdown, Verilog comments and pictures."""
    save_model(dataclasses.replace(small_model(), name="plain-1.0_x"), tmp_path / "m")
    assert load_model(tmp_path / "m").name == "plain-1.0_x"
    with pytest.raises(InputError, match="name must be of letters"):
        save_model(dataclasses.replace(small_model(), name=name), tmp_path / "n")


def test_reports_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    show({}, False, lambda console: show_markdown(console, "# Report of \x1b]0;x\x07\n\nas [here](http://x)\n"))
    said = sys.stdout.getvalue()
    assert "Report of" in said and "here" in said and "\x1b]" not in said and "\x07" not in said


@pytest.mark.parametrize("name", ["br[ack]et", "clo[/x]se", ":smile:", "two  spaces", "esc\x1b[31m"])
def test_paths(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str):
    (tmp_path / name).mkdir(parents=True)
    output = tmp_path / name / "m.model"
    assert run([str(argument) for argument in quantize(checkpoint, output)]) == 0
    assert f"wrote {tmp_path}/{one_line(name)}/m.model " in capsys.readouterr().out
    assert run([str(argument) for argument in quantize(checkpoint, output)]) == 2
    err = capsys.readouterr().err
    assert f"rtlformer: {tmp_path}/{one_line(name)}/m.model: exists already" in err and "\x1b" not in err


def test_command_line_in_a_message(capsys: pytest.CaptureFixture):
    for argument in ("[/x]", "\x1b]0;title\x07"):
        assert run([argument]) == 2
        err = capsys.readouterr().err
        assert one_line(argument) in err and "\x1b" not in err


def test_all_commands_print_through_one_console():
    """Any other would take text for markup."""
    makers = [path.name for room in ("gen", "boards") for path in (ROOT / room).rglob("*.py")
              if re.search(r"(?<!class _)Console\(", path.read_text(encoding="utf-8"))]  # fmt: skip
    assert makers == ["common.py"]


# --- streams that lack letters


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [
        ("ascii", "übung-中", r"\xfcbung-\u4e2d"),
        ("latin-1", "übung-中", r"übung-\u4e2d"),
        ("utf-8", "übung-中", "übung-中"),
        ("utf-8", os.fsdecode(b"byte-\xff"), r"byte-\udcff"),
    ],
)
def test_what_a_stream_cannot_encode_is_escaped(checkpoint: Path, tmp_path: Path, encoding: str, name: str, shown: str):
    """On both streams; the work is done, the status right."""
    command = [sys.executable, "-m", "gen", *map(str, quantize(checkpoint, tmp_path / name))]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    results = [subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False) for _ in range(2)]
    assert [result.returncode for result in results] == [0, 2], results[0].stderr
    assert f"wrote {tmp_path}/{shown} " in results[0].stdout.decode(encoding)
    assert results[1].stderr.decode(encoding).startswith(f"rtlformer: {tmp_path}/{shown}: exists already")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_progress_on_a_terminal_that_lacks_letters(encoding: str, monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with step("working") as tell:
        tell("half", done=1, total=2)
    assert b"\\" not in raw.getvalue() and b"half" in raw.getvalue()
