# SPDX-License-Identifier: Apache-2.0
"""Models of the ECP5 cells, and netlists written for simulation, against descriptions that know nothing of them."""

from __future__ import annotations

import json
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Array, Cat, Module, Mux, ResetInserter, Shape, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from gen.fpga.synth import synthesise
from hw.arith.multiplier import Multiplier, WideMultiplier
from hw.memory import TensorMemory
from hw.verilog import to_verilog
from sim.ecp5 import CELLS, NetlistError, netlist_verilog
from sim.ecp5.lut import expression
from sim.verilate import lint
from tests.pins import play

# --- look-up tables as expressions


def test_expressions_are_their_tables():
    random = np.random.default_rng(1)
    for _ in range(2000):
        count = int(random.integers(1, 5))
        table = int(random.integers(0, 1 << (1 << count)))
        names = [str(name) for name in random.choice(["a", "b", "c", "d", "1'b0", "1'b1"], count)]
        text = expression(table, names).replace("1'b", "")
        for row in range(16):
            values = {name: row >> i & 1 for i, name in enumerate("abcd")} | {"1'b0": 0, "1'b1": 1}
            place = sum(values[name] << i for i, name in enumerate(names))
            assert eval(text, {}, dict(list(values.items())[:4])) & 1 == table >> place & 1, (table, names)


@pytest.mark.parametrize(
    ("table", "text"), [(0x8888, "(a & b)"), (0x6666, "(a ^ b)"), (0xFFFF, "1'b1"), (0x00FF, "~d"), (0xAAAA, "a")]
)
def test_expressions_are_short(table: int, text: str):
    assert expression(table, list("abcd")) == text


# --- what is not modelled is refused


def netlist_of(tmp_path: Path, kind: str, parameters: dict[str, str], connections: dict[str, list]) -> Path:
    ports = {"clk": {"direction": "input", "bits": [2]}, "q": {"direction": "output", "bits": [3]}}
    cell = {"type": kind, "parameters": parameters, "connections": connections}
    (tmp_path / "n.json").write_text(json.dumps({"modules": {"top": {"ports": ports, "cells": {"it": cell}}}}))
    return tmp_path / "n.json"


@pytest.mark.parametrize(
    ("kind", "parameters", "connections", "reason"),
    [
        ("DCCA", {}, {}, "cell it: no model of DCCA"),
        (
            "TRELLIS_FF",
            {"SRMODE": "CE_OVER_LSR"},
            {"CLK": [2], "DI": [2], "Q": [3]},
            "SRMODE = CE_OVER_LSR is not mode",
        ),
        ("TRELLIS_FF", {"LSRMODE": "PRLD"}, {"CLK": [2], "DI": [2], "Q": [3]}, "LSRMODE = PRLD is not modelled"),
        ("TRELLIS_FF", {"NEW": "1 "}, {"CLK": [2], "DI": [2], "Q": [3]}, "NEW = 1 is not modelled"),
        ("TRELLIS_FF", {}, {"DI": [2], "Q": [3]}, "TRELLIS_FF without 'CLK'"),
        ("CCU2C", {"INJECT1_0": "YES"}, {"CIN": ["0"]}, "INJECT1_0 = YES is not modelled"),
        ("LUT4", {"INIT": "1"}, {"A": ["z"], "Z": [3]}, "constant 'z' is not understood"),
        ("DP16KD", {}, {"CLKA": [2], "CLKB": [4]}, "a block RAM with 2 clocks is not modelled"),
        ("DP16KD", {"DATA_WIDTH_A": "100100"}, {"CLKA": [2], "WEB": [4]}, "a write beside a port of 36 bits is not"),
        ("DP16KD", {"DATA_WIDTH_B": "100100", "REGMODE_A": "OUTREG"}, {"CLKA": [2], "OCEA": ["0"]}, "OCEA must be 1"),
        ("MULT18X18D", {}, {"CLK0": [2], "SOURCEB": ["1"]}, "operand shifted in from a neighbour is not modelled"),
    ],
)
def test_netlists_of_something_else_are_refused(tmp_path: Path, kind, parameters, connections, reason):
    with pytest.raises(NetlistError, match=reason):
        netlist_verilog(netlist_of(tmp_path, kind, parameters, connections), top="top")


@pytest.mark.parametrize("text", ["", "[]", '{"modules": {}}', '{"modules": {"top": {"ports": {}}}}'])
def test_no_netlist(tmp_path: Path, text: str):
    (tmp_path / "n.json").write_text(text)
    with pytest.raises(NetlistError, match="no whole netlist of top"):
        netlist_verilog(tmp_path / "n.json", top="top")


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("CCU2C", '.INJECT1_1("YES")'), ("TRELLIS_FF", '.SRMODE("CE_OVER_LSR")'), ("TRELLIS_FF", '.CEMUX("0")'),
        ("TRELLIS_FF", '.LSRMODE("PRLD")'), ("TRELLIS_FF", '.UNHEARD_OF("1")'), ("TRELLIS_DPR16X4", '.WCKMUX("0")'),
        ("MULT18X18D", '.REG_INPUTA_CLK("CLK1")'), ("MULT18X18D", '.REG_OUTPUT_CE("CE1")'),
        ("MULT18X18D", '.REG_INPUTC_CLK("CLK0")'), ("MULT18X18D", '.SOURCEB_MODE("B_C_DYNAMIC")'),
        ("MULT18X18D", '.RESETMODE("ASYNC")'), ("MULT18X18D", '.HIGHSPEED_CLK("CLK0")'),
        ("DP16KD", ".DATA_WIDTH_A(8)"), ("DP16KD", ".DATA_WIDTH_B(36)"), ("DP16KD", '.REGMODE_B("REG")'),
        ("DP16KD", '.CSDECODE_A("0b001")'),
        ("DP16KD", '.WRITEMODE_A("ANY")'), ("DP16KD", '.RESETMODE("NONE")'), ("DP16KD", '.INIT_DATA("DYNAMIC")'),
    ],
)  # fmt: skip
def test_models_refuse_what_they_are_not_written_for(kind: str, parameters: str):
    text = CELLS.read_text()
    assert not [line for line in lint(f"{text}\nmodule top; {kind} it (); endmodule\n") if line.startswith("%Error")]
    found = lint(f"{text}\nmodule top; {kind} #({parameters}) it (); endmodule\n")
    assert any(line.startswith("%Error") for line in found), found


# --- DP16KD by its pins


class BlockRam:
    """What DP16KD is, in bytes of nine bits: behind each port a latch, and with OUTREG a register. Cycle by cycle."""

    def __init__(self, a: int, b: int, mode: str, outreg: bool, reset: str, contents: list[int]):
        self.width, self.mode, self.outreg, self.reset = {"A": a, "B": b}, mode, outreg, reset
        self.bits = np.array([word >> i & 1 for word in contents for i in range(18)], dtype=np.uint8)
        self.latch = {"A": 0, "B": 0}
        self.register = {"A": 0, "B": 0}

    def places(self, port: str, ad: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the bits that a port means, and of those that its byte enables let it write."""
        width = self.width[port]
        if width < 9:
            places = (ad >> 3) * 9 + (ad & 7 & ~(width - 1)) + np.arange(width)
            return places, places
        places = (ad >> 3 & ~(width // 9 - 1)) * 9 + np.arange(width)
        enables = np.array([width == 9 or ad >> i & 1 for i in range(width // 9)], dtype=bool)
        return places, places[np.repeat(enables, 9)]

    def step(self, pins: dict[str, int]) -> dict[str, int]:
        """What DOA and DOB show (as far as the widths go) before the clock edge at which ``pins`` hold."""
        pair, wide = self.width["A"] == 36, self.width["B"] == 36
        if self.reset == "ASYNC":
            for port in "AB":
                source = "B" if wide else port
                if pins[f"RST{source}"] and not (pair and port == "A" and not wide):
                    self.latch[port] = self.register[port] = 0
        shown = dict(self.register if self.outreg else self.latch)
        data = {"A": pins["DIA"] | (pins["DIB"] << 18 if pair else 0), "B": pins["DIB"]}
        held = {port: self.reset == "SYNC" and pins[f"RST{port}"] for port in "AB"}
        writes = {port: bool(pins[f"CE{port}"] and pins[f"WE{port}"] and not held[port]) for port in "AB"}
        places = {port: self.places(port, pins[f"AD{port}"]) for port in "AB"}
        written = {port: set(places[port][1]) if writes[port] else set() for port in "AB"}
        before, after = self.bits.copy(), self.bits
        value = {p: dict(zip(places[p][0], (data[p] >> i & 1 for i in range(36)), strict=False)) for p in "AB"}
        for port in "AB":
            for place in written[port]:
                after[place] = value[port][place]
        for place in written["A"] & written["B"]:
            after[place] = 1 - before[place]
        fresh = {}
        for port, other in (("A", "B"), ("B", "A")):
            seen = before.copy()
            if self.mode == "WRITETHROUGH":
                for place in written[port]:
                    seen[place] = value[port][place]
            for place in written[other]:
                seen[place] = 1 - seen[place]
            fresh[port] = sum(int(seen[place]) << i for i, place in enumerate(places[port][0]))
        reads = {p: bool(pins[f"CE{p}"] and (not pins[f"WE{p}"] or self.mode != "NORMAL")) for p in "AB"}
        if wide:
            fresh = {"A": fresh["B"] & 0x3FFFF, "B": fresh["B"] >> 18}
        for port in "AB":
            if pair and port == "A" and not wide:
                continue
            source = "B" if wide else port
            rst, old = pins[f"RST{source}"], self.latch[port]
            self.latch[port] = 0 if rst else fresh[port] if reads[source] else old
            if self.reset == "ASYNC" and rst:
                self.register[port] = 0
            elif pins[f"OCE{source}"]:
                self.register[port] = 0 if rst else old
        return shown


BUSES = {"AD": 14, "DI": 18, "DO": 18}
SINGLE = ("WE", "CE", "OCE", "RST")
VARIANTS = list(product(("NOREG", "OUTREG"), ("SYNC", "ASYNC")))
WIDTHS = [(1, 1), (2, 2), (4, 4), (9, 9), (18, 18), (1, 18), (9, 4), (18, 2), (36, 36), (36, 18), (36, 9), (36, 1)]
MODES = ["NORMAL", "WRITETHROUGH", "READBEFOREWRITE"]


def block_ram_bench(a: int, b: int, modes: list[str], contents: list[int]) -> str:
    """A module with a DP16KD for each of VARIANTS on the same input pins; those of 18 and 14 bits are buses."""
    initial = [
        f".INITVAL_{row:02X}(320'h{sum(word << 20 * i for i, word in enumerate(contents[16 * row : 16 * row + 16])):x})"
        for row in range(64)
    ]
    ports, cells = ["  input clk;"], []
    for port in "AB":
        ports += [f"  input {name}{port};" for name in SINGLE]
        ports += [f"  input [{BUSES[name] - 1}:0] {name}{port};" for name in ("AD", "DI")]
        ports += [f"  output [17:0] DO{port}_{number};" for number in range(len(VARIANTS))]
    for number, (mode, (regmode, reset)) in enumerate(zip(modes, VARIANTS, strict=True)):
        binds = [f".CLK{port}(clk)" for port in "AB"]
        for port in "AB":
            binds += [f".{name}{port}({name}{port})" for name in SINGLE]
            binds += [f".{name}{port}{i}({name}{port}[{i}])" for name in ("AD", "DI") for i in range(BUSES[name])]
            binds += [f".DO{port}{i}(DO{port}_{number}[{i}])" for i in range(18)]
        parameters = [
            f'.DATA_WIDTH_A({a}), .DATA_WIDTH_B({b}), .WRITEMODE_A("{mode}"), .WRITEMODE_B("{mode}")',
            f'.REGMODE_A("{regmode}"), .REGMODE_B("{regmode}"), .RESETMODE("{reset}")',
        ]
        cells.append(f"  DP16KD #({', '.join(parameters + initial)}) it{number} ({', '.join(binds)});")
    names = ", ".join(line.split()[-1].rstrip(";") for line in ports)
    return f"module ram ({names});\n" + "\n".join(ports + cells) + "\nendmodule\n"


def wrong_words(cells: str, a: int, b: int, cycles: int = 600) -> tuple[int, int]:
    """Words shown by DP16KDs of these widths that are not what they should be, and all that were compared."""
    random = np.random.default_rng(a * 100 + b)
    contents = [int(word) for word in random.integers(0, 1 << 18, 1024)]
    modes = [MODES[(number + a + b) % 3] if a < 36 else "NORMAL" for number in range(len(VARIANTS))]
    near = random.integers(0, 1 << 14, 6)  # few addresses, so that the ports meet
    pins = {}
    for port in "AB":
        pins[f"AD{port}"] = random.choice(near, cycles) ^ random.integers(0, 32, cycles)
        pins[f"DI{port}"] = random.integers(0, 1 << 18, cycles)
        pins[f"WE{port}"] = random.integers(0, 2, cycles) * (a < 36 or port == "A")
        pins[f"CE{port}"] = random.integers(0, 4, cycles) > 0
        pins[f"OCE{port}"] = random.integers(0, 3, cycles) > 0
        pins[f"RST{port}"] = random.integers(0, 9, cycles) == 0
    if a == 36:
        pins["RSTA"][:] = 0
        pins["OCEA"][:] = 1
    found = play(cells + block_ram_bench(a, b, modes, contents), "ram", pins)
    mask = {"A": (1 << min(a, 18)) - 1 if a < 36 or b == 36 else 0, "B": (1 << min(b, 18)) - 1}
    wrong = 0
    for number, (mode, (regmode, reset)) in enumerate(zip(modes, VARIANTS, strict=True)):
        model = BlockRam(a, b, mode, regmode == "OUTREG", reset, contents)
        for t in range(cycles):
            shown = model.step({name: int(values[t]) for name, values in pins.items()})
            wrong += sum((int(found[f"DO{port}_{number}"][t]) ^ shown[port]) & mask[port] != 0 for port in "AB")
    return wrong, 2 * cycles * len(VARIANTS)


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), WIDTHS)
def test_block_ram(a: int, b: int):
    """Every width, write mode, register mode and reset mode, ports that meet included."""
    assert wrong_words(CELLS.read_text(), a, b) == (0, 4800)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "a", "b"),
    [
        ("if (oce) register <= rst", "register <= rst", 9, 9),  # the register without its enable
        ("else if (oce) register <= latch", "else register <= latch", 36, 36),
        ("{9{ad[3]}}, {9{ad[2]}}", "{9{ad[2]}}, {9{ad[3]}}", 36, 36),  # byte enables of a wide port exchanged
        ('RESETMODE == "SYNC" & RSTA', "1'b0", 4, 4),  # writes in spite of a reset
        ("after_b : word_b) ^ other_b", "after_b : word_b)", 18, 2),  # ports that meet and see what was there
        ("(ad[3] ? 9 : 0) + {ad[2], 2'b00}", "(ad[3] ? 8 : 0) + {ad[2], 2'b00}", 9, 4),
    ],
)
def test_wrong_block_ram_is_found(right: str, wrong: str, a: int, b: int):
    text = CELLS.read_text()
    assert right in text
    assert wrong_words(text.replace(right, wrong), a, b)[0] > 0


@pytest.mark.parametrize(
    ("pins", "reason"),
    [
        ({"SOURCEA": 1}, "operands shifted in from a neighbour"),
        ({"SOURCEB": 1}, "operands shifted in from a neighbour"),
    ],
)
def test_multiplier_stops_where_its_pins_ask_for_more(pins: dict[str, int], reason: str):
    text = (
        "module mul (clk, SOURCEA, SOURCEB, p);\n  input clk;\n  input SOURCEA;\n  input SOURCEB;\n  output p;\n"
        "  MULT18X18D it (.SOURCEA(SOURCEA), .SOURCEB(SOURCEB), .CLK0(clk), .P0(p));\nendmodule\n"
    )
    quiet = {"SOURCEA": np.zeros(3), "SOURCEB": np.zeros(3)}
    assert play(CELLS.read_text() + text, "mul", quiet)["p"].tolist() == [0, 0, 0]
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        play(CELLS.read_text() + text, "mul", quiet | {name: np.array([0, 0, 1]) for name in pins})
    assert reason in (stopped.value.stdout + stopped.value.stderr).decode(errors="replace")


# --- what Yosys makes of Verilog


class Odds(wiring.Component):
    """Adders, shifters, comparisons, selections, a LUT RAM, counters: what fabric is made of, all into registers."""

    def __init__(self):
        super().__init__(
            {"a": In(signed(20)), "b": In(signed(13)), "n": In(4), "go": In(1), "stop": In(1), "o": Out(160)}
        )

    def elaborate(self, platform):
        m = Module()
        a, b, n = self.a, self.b, self.n
        shown = []

        def keep(value, **options):
            register = Signal(Shape.cast(value.shape()), **options)
            m.d.sync += register.eq(value)
            shown.append(register)

        keep(a + b)
        keep(a - b)
        keep((a >> n) ^ (b << 3))
        keep(Mux(a < b, a & b, ~a))
        keep(Cat(a == b, a[:4] == n, b.any(), a[3:9].all(), (a ^ b).xor()), init=0b10110)
        keep(Array([a, b, a ^ b, -b, a + 77, b - 5])[n])
        counter, held = Signal(11, init=1291), Signal(9, init=300)
        m.submodules.counting = ResetInserter(self.stop)(self._counting(counter, held))
        m.submodules.lut_ram = ram = memory.Memory(shape=unsigned(6), depth=16, init=[5, 9, 33])
        write, read = ram.write_port(), ram.read_port(domain="comb")
        m.d.comb += [write.addr.eq(n), write.data.eq(b), write.en.eq(self.go), read.addr.eq(a)]
        keep(read.data)
        m.d.comb += self.o.eq(Cat(*shown, counter, held))
        return m

    def _counting(self, counter: Signal, held: Signal) -> Module:
        m = Module()
        m.d.sync += counter.eq(counter + self.n)
        with m.If(self.go):
            m.d.sync += held.eq(held + self.b)
        return m


SHAPES = [
    *((depth, lanes, grain, {}) for depth, lanes, grain in [(2, 1, 1), (16, 2, 8), (300, 1, 36), (512, 4, 9)]),
    *((depth, lanes, grain, {}) for depth, lanes, grain in [(512, 8, 8), (700, 1, 64), (1024, 2, 16), (2048, 1, 4)]),
    *((depth, lanes, grain, {}) for depth, lanes, grain in [(5000, 1, 2), (4096, 3, 1)]),
    (4300, 2, 10, {"dense": True}),  # nine bits, the tenth apart, and the last words in LUT RAM
    (512, 2, 8, {"used": 7}),
]
"""Memories: words, lanes, bits of each, options."""
PRODUCTS = [(signed(18), signed(18)), (unsigned(17), signed(18)), (signed(9), unsigned(8)), (unsigned(3), unsigned(17))]
WIDE = [(signed(35), unsigned(16), True), (unsigned(24), signed(18), False)]


class Zoo(wiring.Component):
    """Every kind of cell: memories of SHAPES, multipliers of PRODUCTS and WIDE, Odds."""

    def __init__(self, contents: list[list[int]]):
        self.parts = {"odds": Odds()}
        for i, (depth, lanes, grain, options) in enumerate(SHAPES):
            self.parts[f"mem{i}"] = TensorMemory(
                depth=depth, lanes=lanes, granularity=grain, init=contents[i], **options
            )
        self.parts |= {f"mul{i}": Multiplier(a=a, b=b) for i, (a, b) in enumerate(PRODUCTS)}
        self.parts |= {f"wide{i}": WideMultiplier(a=a, b=b, high_dsp=dsp) for i, (a, b, dsp) in enumerate(WIDE)}
        super().__init__(
            {
                f"{name}_{port}": member
                for name, part in self.parts.items()
                for port, member in part.signature.members.items()
            }
        )

    def elaborate(self, platform):
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port, member in part.signature.members.items():
                inner, outer = getattr(part, port), getattr(self, f"{name}_{port}")
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The zoo's Verilog and the folder of its netlist, as JSON and as Verilog."""
    random = np.random.default_rng(3)
    contents = [
        [int.from_bytes(random.bytes(8), "little") % (1 << lanes * grain) for _ in range(min(depth, 600))]
        for depth, lanes, grain, _ in SHAPES
    ]
    folder = tmp_path_factory.mktemp("zoo")
    verilog = to_verilog(Zoo(contents), name="zoo")
    found = synthesise(verilog, folder, top="zoo", extra="write_verilog -noattr cells.v")
    assert found.cells.multipliers == len(PRODUCTS) + 3 and found.cells.block_ram > len(SHAPES)
    assert min(found.cells.lut4, found.cells.carry, found.cells.ff, found.cells.lut_ram) > 0
    return verilog, folder


def stimuli(cycles: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(11)
    pins = {"rst": random.integers(0, 40, cycles) == 0}
    pins |= {f"odds_{n}": random.integers(0, 1 << w, cycles) for n, w in {"a": 20, "b": 13, "n": 4, "go": 1}.items()}
    pins["odds_stop"] = random.integers(0, 20, cycles) == 0
    for i, (depth, lanes, _, _) in enumerate(SHAPES):
        places = random.integers(0, depth, 40)
        write, read = random.choice(places, cycles), random.choice(places, cycles)
        read[1:][read[1:] == write[:-1]] ^= 1  # what a read shows that meets the write before it is undefined
        read[read >= depth] = 0
        enabled = random.integers(0, 1 << lanes, cycles) * (random.integers(0, 3, cycles) > 0)
        enabled[:-1][read[1:] == write[:-1]] = 0
        pins |= {f"mem{i}_w_addr": write, f"mem{i}_r_addr": read, f"mem{i}_w_en": enabled}
        pins[f"mem{i}_w_data"] = np.array(
            [int.from_bytes(random.bytes(8), "little") for _ in range(cycles)], dtype=object
        )
    for name, shapes in [(f"mul{i}", ab) for i, ab in enumerate(PRODUCTS)] + [
        (f"wide{i}", w[:2]) for i, w in enumerate(WIDE)
    ]:
        for port, shape in zip("ab", shapes, strict=True):
            values = random.integers(0, 1 << shape.width, cycles)
            ends = random.choice([0, 1, (1 << shape.width) - 1, 1 << (shape.width - 1)], cycles)
            pins[f"{name}_{port}"] = np.where(random.integers(0, 4, cycles) == 0, ends, values)
    return pins


@pytest.mark.slow
def test_netlist_does_what_the_verilog_does(zoo: tuple[str, Path]):
    """Cycle by cycle, written as expressions and as instances of the models; and wrong models are found."""
    verilog, folder = zoo
    pins = stimuli(4000)
    right = play(verilog, "zoo", pins)
    assert all(len(set(values.tolist())) > 1 for values in right.values())
    written = netlist_verilog(folder / "netlist.json", top="zoo")
    cells = CELLS.read_text()

    def wrong(text: str) -> set[str]:
        found = play(text, "zoo", pins)
        return {name for name in right if not np.array_equal(found[name], right[name])}

    assert wrong(cells + written) == set()
    assert wrong(cells + (folder / "cells.v").read_text()) == set()
    broken = wrong(cells.replace("product = a * b", "product = a * b + 1") + written)
    assert broken == {name for name in right if name.startswith(("mul", "wide"))}
    broken = wrong(cells.replace("mem[WAD] <= DI", "mem[WAD] <= DI ^ 4'd1") + written)
    assert "odds_o" in broken
