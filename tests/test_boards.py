# SPDX-License-Identifier: Apache-2.0
"""Boards: data, PLL, reset, constraints, what fits where."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from boards import fit, pll
from boards.board import BOARDS, DEFAULT, board
from boards.pll import Pll, fastest
from boards.reset import HOLD_CYCLES, BoardReset
from boards.route import TOP, check_rates, emit_top
from boards.top import BoardTop
from gen.cli.app import run
from gen.emit.verilog import TOP as CORE
from gen.emit.verilog import WAIVERS
from gen.errors import InputError
from gen.model.modelfile import save_model
from gen.model.randommodel import random_model
from hw.config import PRESETS, CoreConfig, preset
from hw.link.board import LEDS
from sim.verilate import lint, ports

SMALL = CoreConfig(rows=2, cols=2, depth=4, max_tokens=8, max_hidden=16)
INPUTS = sorted({entry.clock_hz for entry in BOARDS.values()})


# --- PLL


@settings(max_examples=10)
@given(st.sampled_from([*INPUTS, 12_000_000, 27_000_000, 100_000_000]), st.integers(3_200_000, 400_000_000))
def test_pll_is_legal_and_never_above_what_was_asked(input_hz: int, limit: int):
    found = fastest(input_hz, limit)  # whose constructor refuses rates out of range
    assert found.hz <= limit
    # A neighbour in any divider is slower, too fast, or out of range.
    for reference in range(1, 1 + input_hz // pll.PHASE_HZ[0]):
        for multiplier in range(1, 129):
            vco = Fraction(input_hz, reference) * multiplier
            if pll.VCO_HZ[0] <= vco <= pll.VCO_HZ[1]:
                above = [vco / output for output in range(1, 129) if found.hz < vco / output <= limit]
                assert not [hz for hz in above if pll.OUTPUT_HZ[0] <= hz <= pll.OUTPUT_HZ[1]]


@given(st.sampled_from(INPUTS), st.integers(4_000_000, 400_000_000))
def test_pll_parameters_make_its_rate(input_hz: int, limit: int):
    """By the primitive's own rule: CLKOP closes the loop, CLKOS leaves the oscillator through its divider."""
    found = fastest(input_hz, limit)
    p = found.parameters()
    assert p["FEEDBK_PATH"] == "CLKOP"
    vco = Fraction(input_hz, p["CLKI_DIV"]) * p["CLKFB_DIV"] * p["CLKOP_DIV"]
    assert vco == found.vco_hz and vco / p["CLKOS_DIV"] == found.hz
    assert all(1 <= p[name] <= 128 for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOS_DIV"))
    assert p["CLKOP_CPHASE"] < 128


def test_pll_makes_the_boards_clocks_exactly():
    for entry in BOARDS.values():
        assert fastest(entry.clock_hz, round(entry.mhz * 1e6)).hz == entry.mhz * 1_000_000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((25_000_000, 3, 60, 5), "phase detector rate must lie in 10000000..400000000 Hz, not 8333333"),
        ((25_000_000, 1, 15, 5), "oscillator rate must lie in 400000000..800000000 Hz, not 375000000"),
        ((25_000_000, 1, 24, 129), "output must lie in 1..128, not 129"),
        ((25_000_000, 1, 24, 1), "output rate must lie in 3125000..400000000 Hz, not 600000000"),
        ((5_000_000, 1, 100, 5), "input rate must lie in 8000000..400000000 Hz, not 5000000"),
    ],
)
def test_pll_out_of_range_is_refused(values: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        Pll(**dict(zip(("input_hz", "reference", "multiplier", "output"), values, strict=True)))


def test_clock_below_the_pll_and_baud_above_the_clock_are_refused():
    with pytest.raises(InputError, match="--clock: 1 MHz is below what the PLL makes of 25 MHz; ask for"):
        fastest(25_000_000, 1_000_000)
    check_rates(fastest(25_000_000, 24_000_000), 3_000_000)
    with pytest.raises(InputError, match="--baud: .*3000000; give another"):
        check_rates(fastest(25_000_000, 23_000_000), 3_000_000)


# --- reset


def test_reset_starts_on_and_outlasts_what_wants_it():
    device = BoardReset()
    seen = []

    async def bench(context):
        async def cycles(count: int) -> None:
            for _ in range(count):
                await context.tick()
                seen.append(context.get(device.reset))

        assert context.get(device.reset) == 1  # before the first clock
        context.set(device.wanted, 1)  # the PLL has not locked
        await cycles(20)
        context.set(device.wanted, 0)
        await cycles(HOLD_CYCLES)
        assert all(seen)
        await cycles(8)
        assert not seen[-1]
        await cycles(50)
        assert not any(seen[-50:])
        context.set(device.wanted, 1)  # the button, for a moment
        await cycles(2)
        context.set(device.wanted, 0)
        await cycles(6)
        assert seen[-1]
        seen.clear()
        await cycles(HOLD_CYCLES - 10)
        assert all(seen)
        await cycles(20)
        assert not seen[-1]

    simulator = Simulator(device)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


# --- data


@pytest.mark.parametrize("name", BOARDS)
def test_board_is_whole(name: str):
    entry = board(name.upper())
    sites = [pin.site for pin in entry.pins]
    assert len(set(sites)) == len(sites)
    assert set(entry.leds) <= set(LEDS)
    assert entry.programmer.tool and entry.programmer.install and entry.programmer.absent
    text = entry.constraints()
    for pin in entry.pins:
        assert f'LOCATE COMP "{pin.port}" SITE "{pin.site}";' in text
        assert f'IOBUF PORT "{pin.port}" IO_TYPE=' in text
    assert f'FREQUENCY PORT "clk_in" {entry.clock_hz} HZ;' in text


def test_pins_of_the_default_board():
    """As the ULX3S's manual has them."""
    pins = {pin.port: pin.site for pin in board(DEFAULT).pins}
    assert (pins["clk_in"], pins["rx"], pins["tx"], pins["button"]) == ("G2", "M1", "L4", "R1")
    assert [pins[f"led[{i}]"] for i in range(8)] == "B2 C2 C1 D2 D1 E2 E1 H3".split()
    assert not any(pin.inverted for pin in board(DEFAULT).pins)
    crab = {pin.port: pin for pin in board("orangecrab-85f").pins}
    assert (crab["rx"].site, crab["tx"].site) == ("N17", "M18")  # "0" and "1" of its header
    assert crab["button"].inverted and crab["led[0]"].inverted


def test_unknown_board():
    with pytest.raises(InputError, match="icebreaker: unknown board; choose one of ulx3s-85f, "):
        board("icebreaker")


@pytest.mark.parametrize("name", BOARDS)
def test_top_has_the_pins_as_its_ports_and_is_lint_clean(name: str):
    entry = board(name)
    text = emit_top(SMALL, board=entry, pll=fastest(entry.clock_hz, 50_000_000), baud=1_000_000, model_hash=5)
    found = [
        f"{port.name}[{i}]" if port.width > 1 else port.name for port in ports(text, TOP) for i in range(port.width)
    ]
    assert sorted(found) == sorted(pin.port for pin in entry.pins)
    for line in (".CLKOP_DIV(", ".CLKOS_DIV(", 'ICP_CURRENT = "12"'):
        assert line in text
    stubs = (
        "/* verilator lint_off UNUSED */\n/* verilator lint_off UNDRIVEN */\n"
        f"module EHXPLLL #({', '.join(f'parameter {name} = 0' for name in _parameters(text))}) "
        "(input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PLLWAKESYNC, ENCLKOP, PHASEDIR, PHASESTEP, "
        "input PHASELOADREG, output CLKOP, CLKOS, LOCK); endmodule\n"
        f"module {CORE} (input clk, rst, run, input [11:0] seq_len, input [63:0] s_axis_tdata, input s_axis_tvalid, "
        "output s_axis_tready, output [63:0] m_axis_tdata, output m_axis_tvalid, input m_axis_tready, "
        "output m_axis_tlast, output [7:0] busy, output [31:0] frames_done, "
        "output [3:0] errors, input [3:0] clear_errors, output model_written, output [31:0] load_crc, "
        "input clear_crc); endmodule\n"
        "/* verilator lint_on UNUSED */\n/* verilator lint_on UNDRIVEN */\n"
    )
    assert lint(stubs + text, top=TOP, control=WAIVERS.read_text()) == []


def _parameters(text: str) -> list[str]:
    block = text[text.index("EHXPLLL #(") :]
    return [line.split("(")[0].strip(" .") for line in block[: block.index(") pll (")].splitlines()[1:] if "." in line]


def test_top_for_another_clock_is_refused():
    with pytest.raises(ValueError, match="pll must be for ulx3s-85f's 25000000 Hz, not 48000000"):
        BoardTop(
            SMALL,
            board=board("ulx3s-85f"),
            pll=fastest(48_000_000, 60e6),
            baud=1_000_000,
            model_hash=0,
            core_module="c",
        )


# --- what fits where


def test_default_board_holds_the_edge_core():
    assert next(fit.fitting_presets(board(DEFAULT))) == "edge"
    assert all(room.fits for room in fit.needs(preset("edge"), board(DEFAULT)))
    assert not all(room.fits for room in fit.needs(preset("large"), board(DEFAULT)))
    assert not all(room.fits for room in fit.needs(preset("edge"), board("ulx3s-25f")))
    assert list(fit.fitting_presets(board("ulx3s-25f"))) == ["small"]


@pytest.fixture
def small():
    return random_model(hidden=8, heads=1, ffn=8, tokens=4, classes=3)


def test_too_large_a_configuration_is_refused_with_the_nearest_that_fits(small):
    with pytest.raises(InputError, match=r"large: does not fit ulx3s-85f \(lfe5u-85f\): it would take \d+ multipliers "
                       r"of 156, .*; the nearest preset that fits is edge: --config edge"):  # fmt: skip
        fit.check_fit(board(DEFAULT), preset("large"), small, "large")
    fit.check_fit(board(DEFAULT), preset("edge"), small, "edge")


def test_too_large_a_model_is_refused_with_a_way_out(small, monkeypatch: pytest.MonkeyPatch):
    few = {"big": preset("edge"), "slim": preset("tiny")}
    monkeypatch.setattr(fit, "PRESETS", few)
    assert fit.choose_preset(board(DEFAULT), small) == "big"
    cut = CoreConfig(rows=2, cols=2, depth=4, w_words=8)
    with pytest.raises(InputError, match=r"c.json: does not hold model random-0: it needs more memory words "
                       r"\(W \d+ of 8\); the nearest preset that fits is big: --config big"):  # fmt: skip
        fit.check_fit(board(DEFAULT), cut, small, "c.json")
    other = random_model(hidden=8, heads=1, ffn=8, tokens=4, classes=3, gelu="ibert")
    with pytest.raises(InputError, match="quantised for gelu=ibert"):
        fit.check_fit(board(DEFAULT), preset("edge"), other, "edge")
    with pytest.raises(
        InputError, match="random-0: too large for ulx3s-25f .*; take another board: ulx3s-85f .preset big"
    ):
        fit.choose_preset(board("ulx3s-25f"), small)
    monkeypatch.setattr(fit, "PRESETS", {"none": cut})
    with pytest.raises(InputError, match="no preset on any board holds random-0; take a smaller model"):
        fit.choose_preset(board(DEFAULT), small)


def test_list_of_boards(capsys: pytest.CaptureFixture, small, tmp_path):
    assert run(["boards", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert list(rows) == list(BOARDS)
    assert rows[DEFAULT]["presets"]["edge"] <= 1 and rows[DEFAULT]["part"] == "lfe5u-85f"
    assert set(rows[DEFAULT]["presets"]) <= set(PRESETS)
    save_model(small, tmp_path / "m")
    assert run(["boards", "--model", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert "edge" in said and "ulx3s-25f" in said and "openFPGALoader" in said
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("boards", "build", "flash"))
