# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any moment: status 130, one line, nothing half-written, earlier outputs as they were."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gen.atomic import output_folder
from gen.cli.app import run
from gen.errors import InputError
from tests.commandline import ROOT, contents, quantize

READY = "import sys; from gen.cli import main; print('ready', flush=True); sys.exit(main())"


def interrupt(arguments: list[object], after: float) -> tuple[int, str]:
    """Runs a command line, presses Ctrl-C ``after`` seconds (to its whole process group), returns status and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", READY, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def check_interrupted(status: int, err: str, before: dict, folder: Path) -> bool:
    assert status in (0, 130), err
    assert "Traceback" not in err and "Exception ignored" not in err
    if status == 130:
        assert err.splitlines()[-1].startswith("rtlformer: interrupted")
        assert contents(folder) == before
    assert not [name for name in contents(folder) if name.endswith((".part", ".old"))]
    return status == 130


def test_interrupted_quantize(checkpoint: Path, tmp_path: Path):
    model = tmp_path / "m"
    assert run([str(a) for a in quantize(checkpoint, model)]) == 0
    caught = 0
    for after in (0.03, 0.1, 0.3, 0.6, 1.0):
        before = contents(tmp_path)
        status, err = interrupt(quantize(checkpoint, model, "--force"), after)
        caught += check_interrupted(status, err, before, tmp_path)
    assert caught >= 2


@pytest.mark.slow
def test_interrupted_generate(model_file: Path, tmp_path: Path):
    arguments = ["generate", "--config", "tiny", "--model", model_file, "-o", tmp_path / "d"]
    start = time.monotonic()
    status, err = interrupt(arguments, after=0.05)
    assert check_interrupted(status, err, {"small.model": model_file.read_bytes()}, tmp_path)
    assert run([str(a) for a in arguments]) == 0
    whole = time.monotonic() - start
    caught = 0
    for part in (0.15, 0.4, 0.65, 0.9):
        before = contents(tmp_path)
        status, err = interrupt([*arguments, "--force"], part * whole)
        caught += check_interrupted(status, err, before, tmp_path)
    assert caught >= 2
    run_again = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert run_again["model"]["name"] == "random-0"


@pytest.mark.parametrize("moment", ["filling", "settling", "swapping", "removing"])
def test_interrupt_at_every_stage_of_a_folder(tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "d"
    with output_folder(folder, marker="m") as work:
        (work / "m").write_text("old")

    def pressing(function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            signal.raise_signal(signal.SIGINT)
            return function(*arguments, **options)

        return call

    if moment == "settling":
        monkeypatch.setattr(os, "fsync", pressing(os.fsync))
    elif moment == "swapping":
        monkeypatch.setattr(Path, "rename", pressing(Path.rename))
    elif moment == "removing":
        monkeypatch.setattr(shutil, "rmtree", pressing(shutil.rmtree))
    with pytest.raises(KeyboardInterrupt), output_folder(folder, force=True, marker="m") as work:
        (work / "m").write_text("new")
        if moment == "filling":
            signal.raise_signal(signal.SIGINT)
    monkeypatch.undo()
    # Until the swap the earlier folder stays; from then on the new one is there, whole.
    assert (folder / "m").read_text() == ("old" if moment in ("filling", "settling") else "new")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_failure_of_the_swap_puts_the_earlier_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "d"
    with output_folder(folder, marker="m") as work:
        (work / "m").write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="Input/output error"), output_folder(folder, force=True, marker="m") as work:
        (work / "m").write_text("new")
    monkeypatch.undo()
    assert (folder / "m").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
