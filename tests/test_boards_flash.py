# SPDX-License-Identifier: Apache-2.0
"""flash, with programmers that only pretend: every way in which it can go wrong is one line, status 2."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from boards import programmer
from boards.board import BOARDS
from boards.programmer import dfu_suffix
from gen.atomic import output_folder
from gen.cli import main
from gen.cli.app import run
from gen.emit.manifest import write_design
from gen.model.randommodel import random_model
from gen.program.compiler import compile_model
from hw.config import preset
from tests.built_folder import write_build
from tests.commandline import contents, reseal, stand_in, write_stand_in

ONE = "001 004    0x0403:0x6015 ft231X          FER-RADIONA-EMARD D00084               ULX3S FPGA 85K v3.0.8"
OTHER = "001 007    0x0403:0x6015 ft231X          FER-RADIONA-EMARD D00085               ULX3S FPGA 85K v3.0.8"
STRANGER = "001 002    0x0403:0x6010 FTDI2232        Digilent     none                 none"
TABLE = "Bus device vid:pid       probe type      manufacturer serial               product"
CRAB = 'Found DFU: [1209:5af0] ver=0101, devnum=9, cfg=1, intf=0, path="{}", alt={}, name="0x00080000", serial="x"'
WRITES = r"""case "$*" in
*--verify*) printf 'Writing: [==] 100.00%%\nDone\nVerifying write (May take time)\n\rRead flash: [] 100%%\n' ;;
*) printf 'SRAM erase: DONE\nLoading: [==] 100%%' ;;
esac; printf '\r\n\033[32mDone\033[0m\nDisable configuration: DONE\n'"""
BITSTREAM = b"\xff\x00bitstream"


@pytest.fixture
def tools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], Path]:
    """Puts a programmer on PATH: shell for listing boards, and for writing. Returns the file with its arguments."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")

    def make(name: str, listing: str, writing: str) -> Path:
        log = folder / f"{name}.log"
        (folder / name).write_text(
            f'#!/bin/sh\necho "$@" >> {log}\ncase "$1" in\n--scan-usb|--list) {listing} ;;\n*) {writing} ;;\nesac\n'
        )
        (folder / name).chmod(0o755)
        return log

    return make


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Path]:
    """A folder as build leaves it, as far as flash looks."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        write_stand_in(folder)
        write_build(folder, BOARDS[name], files={"board.bit": BITSTREAM})
        return folder

    return make


@pytest.fixture
def refused(capsys: pytest.CaptureFixture) -> Callable:
    def check(*arguments: object, words: tuple[str, ...]) -> str:
        assert run(["flash", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.startswith("rtlformer: ")]
        assert len(lines) == 1 and lines[0] == captured.err.splitlines()[-1]
        assert "Traceback" not in captured.err and not captured.out
        for word in words:
            assert word in lines[0], lines[0]
        assert ";" in lines[0], f"no way out in: {lines[0]}"
        return lines[0]

    return check


def altered(folder: Path, **facts: object) -> None:
    """Changed under a hash made anew."""
    path = folder / "build.json"
    reseal(path, json.loads(path.read_text()) | facts)


def renamed(folder: Path, new: str) -> None:
    files = json.loads((folder / "build.json").read_text())["files"]
    files[new] = files.pop("board.bit")
    altered(folder, files=files, bitstream=new)


def clock(folder: Path, **changes: object) -> None:
    altered(folder, clock=json.loads((folder / "build.json").read_text())["clock"] | changes)


def of_another_model(folder: Path) -> None:
    """build.json and its files beside the manifest of another model."""
    before = contents(folder)
    model, config = random_model(hidden=8, heads=1, ffn=8, tokens=4, classes=3, seed=1), preset("tiny")
    shutil.rmtree(folder)
    with output_folder(folder) as work:
        write_design(work, model, compile_model(model, config), stand_in(config))
    for name in ("build.json", "build.md", "board.bit", "board.v", "board.lpf", "netlist.json"):
        (folder / name).write_bytes(before[name])


def lines(*text: str) -> str:
    return "; ".join(f"echo '{line}'" for line in text)


# --- it works


def test_ulx3s(tools, built, capsys: pytest.CaptureFixture):
    log = tools("openFPGALoader", lines(TABLE, STRANGER, ONE), WRITES)
    folder = built("ulx3s-85f")
    assert run(["flash", str(folder)]) == 0
    assert "until power-off" in capsys.readouterr().out
    written = f"--board ulx3s --busdev-num 001:004 --write-sram {folder / 'board.bit'}"
    assert log.read_text().splitlines() == ["--scan-usb", written]
    assert run(["flash", str(folder), "--permanent", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["permanent"] and said["device"] == "001:004" and said["board"] == "ulx3s-85f"
    written = f"--board ulx3s --busdev-num 001:004 --write-flash --verify {folder / 'board.bit'}"
    assert log.read_text().splitlines()[-1] == written


def test_one_of_several(tools, built, refused):
    log = tools("openFPGALoader", lines(TABLE, ONE, OTHER), "echo Done")
    folder = built("ulx3s-85f")
    refused(folder, words=("2 boards", "--device", "001:004", "001:007"))
    refused(folder, "--device", "001:009", words=("no board at 001:009", "001:004"))
    assert "--board" not in log.read_text()
    assert run(["flash", str(folder), "--device", "001:007"]) == 0
    assert "--busdev-num 001:007" in log.read_text()


def test_another_size_of_board(tools, built, refused):
    log = tools("openFPGALoader", lines(TABLE, ONE.replace("85K", "25K"), OTHER), "echo Done")
    folder = built("ulx3s-85f")
    refused(folder, "--device", "001:004", words=("001:004", "25K", "85K", "build for that board"))
    assert "--board" not in log.read_text()
    assert run(["flash", str(folder), "--device", "001:007"]) == 0
    tools("openFPGALoader", lines(TABLE, ONE.partition("FER")[0]), "echo Done")  # one without a name of its own
    assert run(["flash", str(folder)]) == 0


def test_orangecrab(tools, built, tmp_path: Path, capsys: pytest.CaptureFixture):
    kept = tmp_path / "kept"
    listing = lines("dfu-util 0.11", CRAB.format("1-2", 1), CRAB.format("1-2", 0))
    log = tools("dfu-util", listing, f'for last; do :; done; cp "$last" {kept}; echo "Download done."')
    folder = built("orangecrab-85f")
    before = {path.name for path in folder.iterdir()}
    assert run(["flash", str(folder)]) == 0
    assert "for good" in capsys.readouterr().out
    assert "--device 1209:5af0 --path 1-2 --alt 0 --download" in log.read_text()
    data = kept.read_bytes()
    assert data.startswith(BITSTREAM) and len(data) == len(BITSTREAM) + 16
    assert {path.name for path in folder.iterdir()} == before


def test_dfu_suffix():
    """USB DFU 1.1, appendix B; the CRC covers all but itself, without the final inversion."""
    suffix = dfu_suffix(b"x" * 100, 0x1209, 0x5AF0)
    device, product, vendor, version, signature, length, crc = struct.unpack("<HHHH3sBI", suffix)
    assert (device, product, vendor, version, signature, length) == (0xFFFF, 0x5AF0, 0x1209, 0x0100, b"UFD", 16)
    assert crc == zlib.crc32(b"x" * 100 + suffix[:-4]) ^ 0xFFFFFFFF


# --- it does not


@pytest.mark.parametrize("name", BOARDS)
def test_missing_programmer(tools, built, refused, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(built(name), words=(BOARDS[name].programmer.tool, "not installed", "apt-get install"))


@pytest.mark.parametrize(
    "listing", ["true", lines(TABLE), lines(TABLE, STRANGER), lines("Error: no access to the device")]
)
def test_absent_ulx3s(tools, built, refused, listing: str):
    tools("openFPGALoader", listing, "echo Done")
    refused(built("ulx3s-85f"), words=("openFPGALoader", "sees no board", "plug it in", "permissions"))


def test_absent_orangecrab(tools, built, refused):
    tools("dfu-util", lines("dfu-util 0.11", CRAB.format("1-2", 0).replace("1209:5af0", "0483:df11")), "echo done")
    refused(built("orangecrab-85f"), words=("dfu-util", "sees no board", "1209:5af0", "hold its button"))


def test_programmer_that_fails(tools, built, refused):
    folder = built("ulx3s-85f")
    tools("openFPGALoader", lines(TABLE, ONE), "echo working; echo 'JTAG init failed' >&2; exit 1")
    refused(folder, words=("openFPGALoader", "status 1", "JTAG init failed", "try again"))
    tools("openFPGALoader", "echo 'libusb: no access'; exit 3", "echo Done")
    refused(folder, words=("status 3", "libusb: no access"))
    tools("openFPGALoader", lines(TABLE, ONE), "exit 1")
    refused(folder, words=("status 1", "printed nothing"))


@pytest.mark.parametrize(
    ("writing", "words"),
    [
        ("true", "printed nothing"),
        ("echo 'Fail'", "Fail"),
        (lines("Erasing: Done", "Writing: FAIL", "Bye"), "Writing: FAIL"),
        (lines("Done", "JTAG error -3"), "JTAG error -3"),
    ],
)
def test_programmer_that_does_not_say_that_it_is_done(tools, built, refused, writing: str, words: str):
    tools("openFPGALoader", lines(TABLE, ONE), writing)
    refused(built("ulx3s-85f"), words=("without saying that it was done", words))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("echo 'double free or corruption (out)'; kill -ABRT $$", "crashed with SIGABRT (double free or corruption"),
        ("kill -SEGV $$", "crashed with SIGSEGV (Disable configuration: DONE)"),
        ("echo 'Segmentation fault: error 4'; exit 139", "crashed with SIGSEGV (Segmentation fault: error 4)"),
        ("exit 3", "stopped with status 3 (Disable"),
        ("exec sleep 30", "no end after 2 s (Disable"),
    ],
)
@pytest.mark.parametrize("permanent", [False, True])
def test_programmer_that_crashes_when_it_is_done(
    tools, built, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, end: str, words: str, permanent: bool
):
    """The bitstream is written: status 1, and how to see whether the board works. Where it had not said so yet, 2."""
    if "sleep" in end:
        monkeypatch.setattr(programmer, "_WRITE_S", 2)
    folder = built("ulx3s-85f")
    arguments = ["flash", str(folder), "--json", *(["--permanent"] if permanent else [])]
    tools("openFPGALoader", lines(TABLE, ONE), f"{WRITES}; {end}")
    assert run(arguments) == 1
    captured = capsys.readouterr()
    line = captured.err.splitlines()[-1]
    assert line.startswith(f"rtlformer: openFPGALoader: said that it was done, and then: {words}")
    assert f"check it with 'rtlformer run {folder} --port PORT --self-test'" in line
    assert words in json.loads(captured.out)["crash"]
    unfinished = "echo 'Open file DONE'; echo 'Writing: 40%'" if not permanent else "echo 'Writing: 100%'; echo Done"
    for writing in (f"{unfinished}; {end}", f"echo 'Verify failed'; {WRITES}; {end}"):
        tools("openFPGALoader", lines(TABLE, ONE), writing)
        assert run(arguments) == 2
        assert "said that it was done" not in capsys.readouterr().err


def test_dfu_that_crashes_when_it_is_done(tools, built, capsys: pytest.CaptureFixture):
    writing = lines("Download [==] 100% 11 bytes", "Download done.", "unable to read DFU status after completion")
    tools("dfu-util", lines(CRAB.format("1-2", 0)), f"{writing}; exit 74")
    folder = str(built("orangecrab-85f"))
    assert run(["flash", folder]) == 1
    assert "stopped with status 74 (unable to read DFU status" in capsys.readouterr().err
    tools("dfu-util", lines(CRAB.format("1-2", 0)), "echo 'Download 10%'; exit 74")
    assert run(["flash", folder]) == 2
    assert "dfu-util: stopped with status 74 (Download 10%); check cable" in capsys.readouterr().err


def test_programmer_that_hangs(tools, built, refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programmer, "_WRITE_S", 0.3)
    tools("openFPGALoader", lines(TABLE, ONE), "exec sleep 30")
    refused(built("ulx3s-85f"), words=("no end after 0.3 s", "plug the board in anew"))


def test_programmer_that_does_not_start(tools, built, refused):
    log = tools("openFPGALoader", "true", "true")
    (log.parent / "openFPGALoader").write_bytes(b"\x7fELF of another machine")
    refused(built("ulx3s-85f"), words=("does not start", "install it"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "build.json").unlink(), ("no build.json", "rtlformer build")),
        (lambda folder: (folder / "build.json").write_text("{"), ("truncated or altered",)),
        (lambda folder: (folder / "build.json").write_text("[]"), ("truncated or altered",)),
        (lambda folder: write_build(folder, BOARDS["ulx3s-85f"], board="mars"), ("mars", "unknown board")),
        (lambda folder: write_build(folder, BOARDS["ulx3s-85f"], baud=10**9), ("build.json", "baud must lie in")),
        (lambda folder: altered(folder, board="mars"), ("build.json", "is not what build.md reports")),
        (lambda folder: altered(folder, bitstream=None), ("build.json", "bitstream must be", "None")),
        (lambda folder: altered(folder, files=[]), ("build.json", "files must be of type dict")),
        (lambda folder: altered(folder, files={}), ("build.json", "its files must be board.bit, board.v,")),
        (lambda folder: altered(folder, pins=[{}]), ("build.json", "pins.0 lacks field 'inverted'")),
        (lambda folder: altered(folder, pins=[]), ("build.json", "is not what build.md reports")),
        (lambda folder: altered(folder, baud=0), ("build.json", "baud must be in 1..")),
        (lambda folder: altered(folder, baud=10**30), ("build.json", "baud must be in 1..")),
        (lambda folder: altered(folder, baud=1200), ("build.json", "baud must be at least clock_hz / 10000")),
        (lambda folder: altered(folder, baud=230400), ("build.json", "is not what build.md reports")),
        (lambda folder: altered(folder, baud=True), ("build.json", "baud must be an integer")),
        (lambda folder: clock(folder, hz=50_000_001), ("build.json", "is not what build.md reports")),
        (lambda folder: clock(folder, hz=0), ("build.json", "clock.hz must be in")),
        (lambda folder: renamed(folder, "../board.bit"), ("build.json", "bitstream must be one of board.bit")),
        (lambda folder: renamed(folder, "core.v"), ("build.json", "bitstream must be one of board.bit")),
        (lambda folder: altered(folder, format=2), ("build.json", "is of format 2, this version reads 1")),
        (of_another_model, ("build.json", "its model_hash is not that of manifest.json")),
        (lambda folder: (folder / "manifest.json").write_text("{"), ("manifest.json", "truncated or altered")),
        (lambda folder: (folder / "build.md").unlink(), ("build.md", "No such file")),
        (lambda folder: (folder / "build.md").write_text(""), ("build.json", "is not what build.md reports")),
        (lambda folder: (folder / "board.v").write_text("another"), ("board.v", "truncated or altered")),
        (lambda folder: (folder / "board.bit").unlink(), ("board.bit", "missing")),
        (lambda folder: (folder / "board.bit").write_bytes(BITSTREAM[:-1]), ("board.bit", "truncated or altered")),
    ],
)
def test_folder_that_is_no_build(tools, built, refused, change: Callable[[Path], object], words: tuple[str, ...]):
    log = tools("openFPGALoader", lines(TABLE, ONE), "echo Done")
    folder = built("ulx3s-85f")
    change(folder)
    refused(folder, words=words)
    assert not log.exists()


def test_interrupted_while_writing(tools, built, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    tools("openFPGALoader", lines(TABLE, ONE), "echo Done")
    monkeypatch.setattr(programmer.Programmer, "_write", interrupted)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # main sets it, and what it does on signals
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main(["flash", str(built("ulx3s-85f"))]) == 130
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "rtlformer: interrupted; ulx3s-85f may hold half of board.bit; flash it again"


def test_no_folder(refused, tmp_path: Path):
    refused(tmp_path / "nowhere", words=("nowhere", "no such folder", "rtlformer build"))
