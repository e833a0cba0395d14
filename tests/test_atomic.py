# SPDX-License-Identifier: Apache-2.0
"""What an output replaces: the file or folder behind a link, and nothing that is neither."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from gen.atomic import check_free, output_file, output_folder, scratch_file
from gen.cli.app import run
from gen.errors import InputError
from gen.files import write_bytes
from tests.commandline import quantize


def scratch(path: Path, data: bytes, *, force: bool = False) -> None:
    with scratch_file(path, force=force) as work:
        work.write_bytes(data)


def plain(path: Path, data: bytes, *, force: bool = False) -> None:
    check_free(path, force=force)
    write_bytes(path, data)


writers = pytest.mark.parametrize("write", [output_file, scratch, plain])


@writers
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path, write):
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "second"
    target.write_bytes(b"old")
    link.symlink_to("there/target")
    second.symlink_to("link")
    with pytest.raises(InputError, match="exists already"):
        write(second, b"new")
    write(second, b"new", force=True)
    assert target.read_bytes() == b"new" and second.is_symlink() and link.is_symlink()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["target"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "second", "there"]


@writers
def test_a_link_to_a_file_that_is_not_there_yet(tmp_path: Path, write):
    link = tmp_path / "link"
    link.symlink_to("new")
    with pytest.raises(InputError, match="exists already"):
        write(link, b"x")
    write(link, b"x", force=True)
    assert link.is_symlink() and (tmp_path / "new").read_bytes() == b"x"
    link.unlink()
    link.symlink_to("nowhere/new")
    with pytest.raises(InputError, match=r"link: its folder does not exist; create .*/nowhere first"):
        write(link, b"x", force=True)
    with pytest.raises(InputError, match=r"new/m: .*/new is no folder; choose another name"):
        write(tmp_path / "new" / "m", b"x")


@pytest.fixture
def special(tmp_path: Path) -> dict[str, Path]:
    """Paths that are no regular file, by what they are."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    return {"a pipe": tmp_path / "to pipe", "a folder": tmp_path / "folder",
            "Too many levels": tmp_path / "loop"}  # fmt: skip


@writers
def test_what_is_no_regular_file_is_refused(special: dict[str, Path], write, tmp_path: Path):
    before = {path.name: stat.S_IFMT(path.lstat().st_mode) for path in tmp_path.iterdir()}
    for what, path in special.items():
        for force in (False, True):
            with pytest.raises(InputError, match=f"{what}.*; choose another name"):
                write(path, b"x", force=force)
    assert {path.name: stat.S_IFMT(path.lstat().st_mode) for path in tmp_path.iterdir()} == before


def test_a_device_is_refused(tmp_path: Path):
    """Only looked at: who tests as root must keep the device whatever happens."""
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "null"):
        for folder in (False, True):
            with pytest.raises(InputError, match="null: is a device; choose another name"):
                check_free(path, force=True, folder=folder)


def test_folders(special: dict[str, Path], tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for what, path in {**special, "a file, not a folder": tmp_path / "file"}.items():
        if what != "a folder":
            with pytest.raises(InputError, match=what), output_folder(path, force=True):
                pytest.fail("not refused before the work")
    (tmp_path / "link").symlink_to("folder")
    with output_folder(tmp_path / "link", force=True, marker="m") as work:
        (work / "m").write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "m").read_text() == "new"


def test_commands_refuse_before_the_work(special: dict[str, Path], checkpoint: Path, capsys: pytest.CaptureFixture):
    """Nothing waits for a reader of the pipe, and no input is read."""
    np.save(checkpoint / "x.npy", np.zeros(3))
    commands = (
        quantize(checkpoint, special["a pipe"], "--force"),
        ["simulate", checkpoint, "--input", checkpoint / "x.npy", "-o", special["a pipe"], "--force"],
        ["simulate", checkpoint, "--input", checkpoint / "x.npy", "--waves", special["a pipe"], "--force"],
        ["run", checkpoint, "--port", "sim", "--input", checkpoint / "x.npy", "-o", special["a pipe"], "--force"],
        ["generate", "--config", "tiny", "--model", "none", "-o", special["a pipe"], "--force"],
        ["build", "--model", "none", "-o", special["a pipe"], "--force"],
    )
    for command in commands:
        assert run([str(argument) for argument in command]) == 2
        assert capsys.readouterr().err.endswith("is a pipe; choose another name\n"), command
    assert special["a pipe"].is_fifo()
