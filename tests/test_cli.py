# SPDX-License-Identifier: Apache-2.0
"""The command line on good input: what it writes, what it says, and that another run writes the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from gen.cli.app import COMMANDS, run
from gen.cycles.run import Operation
from gen.emit.manifest import open_design
from gen.model.modelfile import load_model, save_model
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from gen.simulate.activity import Timeline, chrome_trace, drawing, picture
from hw.config import PRESETS, CoreConfig
from hw.core import BUSY_BITS
from hw.memories import MEMORIES
from sim import reference
from tests.commandline import reseal

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
SHAPE = {"hidden": 8, "heads": 2, "ffn": 16, "tokens": 6, "classes": 3, "pixels": 4}


def call(capsys: pytest.CaptureFixture, *arguments: object, status: int = 0) -> str:
    """Standard output of a command line that must end with ``status``."""
    found = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert found == status, captured.err
    return captured.out


@cache
def model():
    return random_model(**SHAPE)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model file, a configuration, and the accelerator that generate made of them."""
    folder = tmp_path_factory.mktemp("workshop")
    save_model(model(), folder / "m")
    (folder / "config.json").write_text('{"preset": "tiny"}')
    options = ["--config", str(folder / "config.json"), "--model", str(folder / "m"), "--fit"]
    assert run(["generate", *options, "-o", str(folder / "d")]) == 0
    return folder


# --- help and lists


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture):
    text = call(capsys, "--help")
    for name in COMMANDS:
        assert f"  {name} " in text
        assert f"  rtlformer {name}" in call(capsys, name, "--help")


def test_no_command_shows_them_all(capsys: pytest.CaptureFixture):
    assert run([]) == 2
    captured = capsys.readouterr()
    assert not captured.out and all(f"\n  {name} " in captured.err for name in COMMANDS)


def test_both_ways_to_start():
    console = Path(sys.executable).parent / "rtlformer"
    texts = [
        subprocess.run([*start, "presets", "--json"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for start in ([sys.executable, "-m", "gen"], [str(console)])
    ]
    assert texts[0] == texts[1]
    assert set(json.loads(texts[0])) == set(PRESETS)


def test_output_that_nobody_reads_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([sys.executable, "-m", "gen", "presets"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE,
                            text=True, check=False)  # fmt: skip
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", [["presets"], ["presets", "--nope"]])
def test_closed_output_is_no_error(command: list[str]):
    closed = 'exec "$0" -m gen "$@" >&-'
    arguments = ["sh", "-c", closed, sys.executable, *command]
    result = subprocess.run(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2 * (len(command) - 1)
    assert result.stderr.count("\n") == len(command) - 1 and "Traceback" not in result.stderr


def test_presets(capsys: pytest.CaptureFixture):
    found = json.loads(call(capsys, "presets", "--json"))
    assert found["edge"]["array"] == "4x4x8" and found["edge"]["macs"] == 128
    assert all(name in call(capsys, "presets") for name in PRESETS)


def test_doctor_finds_everything_here(capsys: pytest.CaptureFixture):
    found = json.loads(call(capsys, "doctor", "--json"))
    assert found["ok"] and all(finding["found"] for finding in found["findings"])
    assert all(finding["ok"] or finding["advice"] for finding in found["findings"])
    assert {finding["name"] for finding in found["findings"] if finding["optional"]} == {"openFPGALoader", "dfu-util"}


# --- quantize


def test_quantize(capsys: pytest.CaptureFixture, tmp_path: Path):
    arguments = ["quantize", DIGITS / "checkpoint", "--calibration", DIGITS / "calibration.npy", "-o", tmp_path / "m"]
    result = json.loads(call(capsys, *arguments, "--json"))
    assert result["layers"] == 2 and result["classes"] == 10 and result["output_error"] < 0.03
    first = (tmp_path / "m").read_bytes()
    assert load_model(tmp_path / "m").name == result["name"] == "digits-vit"
    assert "digits-vit: 2 layers" in call(capsys, *arguments, "--force")
    assert (tmp_path / "m").read_bytes() == first


def test_quantize_token_ids_of_several_lengths(capsys: pytest.CaptureFixture, tmp_path: Path):
    bert = ROOT / "tests" / "data" / "bert_tiny"
    random = np.random.default_rng(7)
    samples = [random.integers(1, 8, length) for length in (3, 5, 4)]
    np.savez(tmp_path / "x.npz", *samples)
    result = json.loads(
        call(capsys, "quantize", bert, "--calibration", tmp_path / "x.npz", "-o", tmp_path / "m", "--json")
    )
    assert result["norm"] == "post"


# --- generate and simulate


def test_manifest_lists_every_file_with_its_hash(workshop: Path):
    manifest = json.loads((workshop / "d" / "manifest.json").read_text())
    files = {p.relative_to(workshop / "d").as_posix(): p for p in (workshop / "d").rglob("*") if p.is_file()}
    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    for name, facts in manifest["files"].items():
        assert facts == {"sha256": sha256(files[name].read_bytes()).hexdigest(), "bytes": files[name].stat().st_size}
    assert {"core.v", "core.vlt", "program.lst", "interface.md", "load.hex", "images/w.hex"} <= set(files)
    assert manifest["configuration_sha256"] == CoreConfig(**manifest["configuration"]).fingerprint
    assert {port["name"] for port in manifest["interface"]["ports"]} >= {"clk", "rst", "s_axis_tdata", "m_axis_tlast"}


def test_generated_files_are_those_of_the_compiler(workshop: Path):
    design = open_design(workshop / "d")
    image = compile_model(model(), design.config)
    words = [int(line, 16) for line in (workshop / "d" / "images" / "w.hex").read_text().split()]
    assert tuple(words) == next(words for target, words in image.memories.items() if target.name == "W")
    stream = [int(line, 16) for line in (workshop / "d" / "load.hex").read_text().split()]
    assert stream == [int(word) for packet in image.load_packets() for word in packet]
    assert (workshop / "d" / "program.lst").read_text() == image.listing + "\n"


@pytest.mark.slow
def test_generating_again_writes_the_same_bytes(workshop: Path, tmp_path: Path):
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    options = ["--config", workshop / "config.json", "--model", workshop / "m", "--fit", "-o", tmp_path / "d"]
    command = [sys.executable, "-m", "gen", "generate", *map(str, options)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    for path in (workshop / "d").rglob("*"):
        if path.is_file():
            assert (tmp_path / "d" / path.relative_to(workshop / "d")).read_bytes() == path.read_bytes(), path


def test_simulate_equals_golden_in_every_tensor(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    inputs = [random_rows(model(), tokens, seed) for seed, tokens in enumerate((6, 6, 3, 2))]
    np.savez(tmp_path / "x.npz", *inputs)
    result = json.loads(
        call(
            capsys, "simulate", workshop / "d", "--input", tmp_path / "x.npz", "--compare", "-o", tmp_path / "y.npy",
            "--timeline", tmp_path / "t", "--json",
        )
    )  # fmt: skip
    assert result["differences"] == [] and result["compared_tensors"] > 40
    assert abs(result["predicted_single_cycles"] - result["single_cycles"]) <= 0.05 * result["single_cycles"]
    expected = np.stack([reference.forward(model(), x)["output"] for x in inputs])
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
    assert result["classes"] == expected.argmax(1).tolist()
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    named = {event["name"] for event in events}
    assert {"macs", "softmax", "norm"} <= named and any("layer0.scores" in name for name in named)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_simulate_a_stream(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    inputs = np.stack([random_rows(model(), 6, seed) for seed in range(8)])
    np.save(tmp_path / "x.npy", inputs)
    arguments = ["simulate", workshop / "d", "--input", tmp_path / "x.npy"]
    result = json.loads(call(capsys, *arguments, "-o", tmp_path / "y.npy", "--json"))
    expected = np.stack([reference.forward(model(), x)["output"] for x in inputs])
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
    assert result["interval_cycles"] and result["inputs"] == 8
    text = call(capsys, *arguments, "--limit", "5")
    assert "input 4: " in text and "input 5: " not in text and "cycles between results" in text


@pytest.mark.slow
def test_simulate_reports_a_difference(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """A core whose softmax constants are wrong, under a manifest that says that all is well."""
    folder = shutil.copytree(workshop / "d", tmp_path / "d")
    text = (folder / "core.v").read_text()
    head = (folder / "images" / "head.hex").read_text().split()[0].lstrip("0")
    assert len(head) > 6
    bits = MEMORIES["HEAD"].used
    digits = -(-bits // 4)
    altered, count = re.subn(
        rf"(?<={bits}'h){head.zfill(digits)}(?=;)", f"{int(head, 16) ^ 0x0F00:0{digits}x}", text, count=1
    )
    assert count == 1
    (folder / "core.v").write_text(altered)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["core.v"]["sha256"] = sha256(altered.encode()).hexdigest()
    reseal(folder / "manifest.json", manifest)
    np.save(tmp_path / "x.npy", random_rows(model(), 6))
    assert run(["simulate", str(folder), "--input", str(tmp_path / "x.npy"), "--compare"]) == 1
    captured = capsys.readouterr()
    assert "layer0.exp" in captured.out
    assert "the Verilog and the golden model disagree" in captured.err.splitlines()[-1]


@pytest.mark.slow
def test_waves(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    np.save(tmp_path / "x.npy", random_rows(model(), 2))
    call(capsys, "simulate", workshop / "d", "--input", tmp_path / "x.npy", "--waves", tmp_path / "w.fst")
    assert (tmp_path / "w.fst").stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.fst", "x.npy"]


# --- timelines


def test_timeline_spans_come_from_the_changes_of_busy():
    bit = {name: 1 << number for number, name in enumerate(BUSY_BITS)}
    cycles = np.array([5, 12, 20, 30, 40], np.uint64)
    values = np.array([bit["norm"], bit["norm"] | bit["macs"], bit["macs"], 0, bit["store"]], np.uint32)
    timeline = Timeline.measured(cycles, values, start=10, end=50)
    assert timeline.cycles == 40
    assert timeline.spans["norm"].tolist() == [[0, 10]]
    assert timeline.spans["macs"].tolist() == [[2, 20]]
    assert timeline.spans["store"].tolist() == [[30, 40]]
    assert timeline.spans["softmax"].shape == (0, 2)
    assert timeline.busy("macs") == 18
    events = json.loads(chrome_trace(timeline, title="x"))["traceEvents"]
    spans = [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert sorted(spans) == [("macs", 2, 18), ("norm", 0, 10), ("store", 30, 10)]


def test_the_picture_shows_spans_and_shares():
    """A bar a span, a row an engine from the top, each with its name and the share of cycles that it was busy."""
    spans = {name: np.zeros((0, 2), np.int64) for name in BUSY_BITS}
    spans |= {"macs": np.array([[2, 12], [20, 34]]), "norm": np.array([[0, 4]]), "store": np.array([[30, 40]])}
    timeline = Timeline(spans=spans, cycles=40)
    (axes,) = drawing(timeline, title="a title").axes
    names = {axes.get_yticks()[row]: label.get_text() for row, label in enumerate(axes.get_yticklabels())}
    shown = {names[text.get_position()[1]]: text.get_text() for text in axes.texts}
    assert shown == {
        "array fed": "60%", "array command": "0%", "drain": "0%", "softmax": "0%", "norm": "10%", "store": "25%",
        "loader": "0%",
    }  # fmt: skip
    assert list(shown) == [names[position] for position in sorted(names, reverse=True)]
    bars = {}
    for row, collection in zip(sorted(names, reverse=True), axes.collections, strict=True):
        boxes = [path.get_extents() for path in collection.get_paths()]
        assert all(box.y0 < row < box.y1 for box in boxes)
        bars[names[row]] = [[box.x0, box.x1] for box in boxes]
    assert bars == {
        "array fed": [[2, 12], [20, 34]], "norm": [[0, 4]], "store": [[30, 40]],
        **dict.fromkeys(("array command", "drain", "softmax", "loader"), []),
    }  # fmt: skip
    assert axes.get_xlim() == (0, 40) and axes.get_title(loc="left") == "a title" and "cycles" in axes.get_xlabel()
    assert picture(timeline, title="a title").startswith(b"\x89PNG")


def test_the_trace_shows_what_was_measured_and_predicted():
    timeline = Timeline(spans={"macs": np.array([[2, 12]])}, cycles=40)
    predicted = [
        Operation(engine="array", name="layer0.q", i=1, j=2, start=5, end=25, busy=18, macs=16),
        Operation(engine="norm", name="layer0.norm", i=0, j=3, start=7, end=7, busy=0),
    ]
    trace = json.loads(chrome_trace(timeline, predicted, title="m"))
    assert trace["displayTimeUnit"] == "ms"
    tags = [(e["pid"], e["tid"], e["name"], e["args"]["name"]) for e in trace["traceEvents"] if e["ph"] == "M"]
    assert tags == [
        (1, 0, "process_name", "measured: m"), (1, 0, "thread_name", "array fed"),
        (2, 0, "process_name", "predicted by the cycle model: m"), (2, 0, "thread_name", "array"),
        (2, 1, "thread_name", "norm"),
    ]  # fmt: skip
    assert [event for event in trace["traceEvents"] if event["ph"] == "X"] == [
        {"ph": "X", "pid": 1, "tid": 0, "ts": 2, "dur": 10, "name": "macs", "cat": "macs"},
        {"ph": "X", "pid": 2, "tid": 0, "ts": 5, "dur": 20, "name": "layer0.q [1,2]", "cat": "array",
         "args": {"busy": 18, "array fed": 16}},
        {"ph": "X", "pid": 2, "tid": 1, "ts": 7, "dur": 1, "name": "layer0.norm [0,3]", "cat": "norm",
         "args": {"busy": 0, "array fed": 0}},
    ]  # fmt: skip


# --- demo


@pytest.mark.slow
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture):
    text = call(capsys, "demo", "--images", "8", "-o", tmp_path / "digits")
    assert re.search(r"accuracy +8/8 = 100.00%", text)
    assert re.search(r"logits of 8/8 images equal", text)
    assert re.search(r"read \d, is \d", text)
    assert (tmp_path / "digits" / "manifest.json").is_file()
