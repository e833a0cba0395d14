# SPDX-License-Identifier: Apache-2.0
"""The ladder golden = rtl = netlist = board: it holds where it should, and breaks where something is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards.board import BOARDS
from gen.cli.app import run
from gen.emit.manifest import Design, open_design
from gen.fpga.estimate import estimate
from gen.fpga.implement import implement
from gen.fpga.synth import Cells, Netlist, part
from gen.model.modelfile import save_model
from gen.model.randommodel import random_model, random_rows
from gen.verify.ladder import Ladder, verify
from gen.verify.netlist import _recipe, synthesised_netlist
from sim.ecp5 import CELLS
from tests.built_folder import write_build

INPUTS = 3


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small accelerator "d" and inputs for it."""
    folder = tmp_path_factory.mktemp("workshop")
    model = random_model(hidden=8, heads=2, ffn=16, tokens=6, classes=3, pixels=4)
    save_model(model, folder / "m")
    options = ["--config", "tiny", "--model", str(folder / "m"), "--fit", "-o", str(folder / "d")]
    assert run(["generate", *options]) == 0
    np.savez(folder / "x.npz", *(random_rows(model, length, length) for length in (6, 3, 6)))
    return folder


@pytest.fixture(scope="module")
def design(workshop: Path) -> Design:
    return open_design(workshop / "d")


@pytest.fixture(scope="module")
def inputs(workshop: Path) -> list:
    return list(np.load(workshop / "x.npz").values())


@pytest.fixture(scope="module")
def netlist(design: Design) -> Netlist:
    return synthesised_netlist(design)


def broken(ladder: Ladder, name: str) -> str:
    """What the rung ``name``, and no other, found wrong."""
    assert [rung.name for rung in ladder.rungs if not rung.holds] == [name] == [ladder.rungs[-1].name]
    assert not ladder.holds
    return ladder.rungs[-1].differences[0]


# --- what is wrong with the command line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rungs", "rtl,gates"], "--rungs: 'gates' is no rung; choose among golden, rtl, netlist, board"),
        (["--rungs", "rtl", "--netlist", "n.json"], "n.json: --netlist without the rung netlist"),
        ([], "holds random-0, for which no inputs are bundled; give --input"),
        (["--input", "no.npy"], "no.npy: no such file"),
        (["--input", "{x}", "--netlist", "no.json"], "no.json: left no whole netlist"),
        (
            ["--input", "{x}", "--netlist", "{x}"],
            "left no whole netlist (UnicodeDecodeError); give the netlist.json of",
        ),
        (["--input", "{x}", "--limit", "0"], "--limit"),
    ],
)
def test_bad_input(workshop: Path, capsys: pytest.CaptureFixture, options: list[str], reason: str):
    options = [option.format(x=workshop / "x.npz") for option in options]
    assert run(["verify", str(workshop / "d"), *options]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_the_netlist_of_a_build_is_the_one_that_is_proven(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    shutil.copytree(workshop / "d", tmp_path / "d")
    write_build(tmp_path / "d", BOARDS["ulx3s-85f"], files={"netlist.json": "{}"})
    command = ["verify", str(tmp_path / "d"), "--input", str(workshop / "x.npz"), "--rungs", "netlist"]
    assert run(command) == 2
    assert "d/netlist.json: left no whole netlist" in capsys.readouterr().err
    (tmp_path / "d/netlist.json").write_text("{ }")
    assert run(command) == 2
    assert "d/netlist.json: truncated or altered since it was made; make it again" in capsys.readouterr().err


def test_no_design(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run(["verify", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


# --- the netlist


def test_a_netlist_is_made_once(design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """For each Verilog, and anew when the code that makes netlists is another."""
    made = []

    def fake(verilog: str, folder: Path, *, top: str, progress=None) -> None:
        made.append(verilog)
        cell = {"type": "LUT4", "parameters": {}, "connections": {}}
        (folder / "netlist.json").write_text(json.dumps({"modules": {top: {"ports": {}, "cells": {"a": cell}}}}))
        (folder / "design.v").write_text(verilog)

    monkeypatch.setenv("RTLFORMER_BUILD", str(tmp_path))
    monkeypatch.setattr("gen.verify.netlist.synthesise", fake)
    first = synthesised_netlist(design)
    assert synthesised_netlist(design).path == first.path and len(made) == 1
    assert sorted(path.name for path in first.path.parent.iterdir()) == ["netlist.json"]
    other = synthesised_netlist(replace(design, verilog=design.verilog + "\n"))
    assert other.path != first.path and len(made) == 2
    assert any("def synthesise" in text for text in _recipe())
    monkeypatch.setattr("gen.verify.netlist._recipe", lambda: ["another"])
    assert synthesised_netlist(design).path not in (first.path, other.path) and len(made) == 3


@pytest.mark.slow
def test_a_core_is_mapped_as_estimated(
    design: Design, netlist: Netlist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gen.fpga.implement.synthesise", lambda *_, **__: netlist)
    result = implement(design.verilog, design.config, tmp_path, top=design.manifest["top"], part=part("lfe5u-85f"))
    assert result.problems == []
    guess = estimate(design.config)
    assert guess.multipliers == result.cells.multipliers
    assert guess.block_ram == pytest.approx(result.cells.block_ram, abs=2)
    assert guess.lut_sites == pytest.approx(result.cells.lut_sites, rel=0.15)


# --- the rungs


@pytest.mark.slow
def test_wrong_verilog_breaks_the_rung_rtl(design: Design, inputs: list):
    """A multiplier that is off by one in the emitted Verilog; nothing is climbed above it."""
    right = "p_q <= a_q * b_q;"
    assert right in design.verilog
    ladder = verify(
        replace(design, verilog=design.verilog.replace(right, "p_q <= a_q * b_q + 1;")), inputs, rungs=["rtl"]
    )
    assert "input 0: " in broken(ladder, "rtl")


@pytest.mark.slow
def test_the_ladder_holds(workshop: Path, netlist: Netlist, capsys: pytest.CaptureFixture):
    """By the command line, with every number that it reports."""
    arguments = ["verify", str(workshop / "d"), "--input", str(workshop / "x.npz"), "--rungs", "rtl,netlist,board"]
    arguments += ["--netlist", str(netlist.path)]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    golden, rtl, cells, board = found["rungs"]
    assert found["holds"] and found["inputs"] == INPUTS and found["tokens"] == [3, 6]
    assert [rung["name"] for rung in found["rungs"]] == ["golden", "rtl", "netlist", "board"]
    assert all(
        rung["holds"] and rung["inputs"] == INPUTS and rung["outputs"] == golden["outputs"] == 9
        for rung in found["rungs"]
    )
    assert rtl["tensors"] >= 14 * INPUTS and cells["tensors"] == 0
    assert rtl["cycles"] == cells["cycles"] > 1000 and cells["same_cycles"]
    assert cells["facts"]["netlist"] == str(netlist.path)
    assert not board["facts"]["loaded"] and board["cycles"] > rtl["cycles"]
    assert Cells(**{k: v for k, v in cells["facts"]["cells"].items() if k != "lut_sites"}).multipliers > 0
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "= netlist" in text and "holds: golden = rtl = netlist = board" in text
    assert "3 inputs, 9 outputs compared, all equal, each in the same cycle as rtl" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("product = a * b", "product = a * b + 1"),
        ("mem[ad_a[13:5]] <= (after_a", "mem[{ad_a[13:6], 1'b0}] <= (after_a"),  # block RAM with a dead address pin
    ],
)
def test_broken_models_break_the_rung_netlist(
    workshop: Path, netlist: Netlist, tmp_path: Path, capsys: pytest.CaptureFixture, right: str, wrong: str
):
    text = CELLS.read_text()
    assert right in text
    (tmp_path / "cells.v").write_text(text.replace(right, wrong))
    arguments = ["verify", str(workshop / "d"), "--input", str(workshop / "x.npz"), "--rungs", "rtl,netlist"]
    assert run([*arguments, "--netlist", str(netlist.path), "--cells", str(tmp_path / "cells.v")]) == 1
    captured = capsys.readouterr()
    assert "\n= rtl" in captured.out and "\n≠ netlist" in captured.out and "holds" not in captured.out
    assert "rung netlist does not hold: input 0: " in captured.err.splitlines()[-1]
