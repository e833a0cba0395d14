# SPDX-License-Identifier: Apache-2.0
"""A synthesised netlist as Verilog that simulates fast: one expression a look-up table, one block a set of registers.

The cells with state of their own, multipliers, block RAMs and LUT RAMs, stay instances of the models in ``cells.v``.
A cell, parameter or value that is not written for here is an error, never ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from sim.ecp5.lut import expression

__all__ = ["NetlistError", "netlist_verilog"]

_INSTANCES = ("MULT18X18D", "DP16KD", "TRELLIS_DPR16X4")
_ALIASES = {"PDPW16KD": "DP16KD"}
_IGNORED = ("GSR",)  # global reset, which no netlist here connects
_FF = {
    "CEMUX": ("1", "CE", "INV"), "CLKMUX": ("CLK", "INV"), "LSRMUX": ("LSR", "INV"), "REGSET": ("RESET", "SET"),
    "SRMODE": ("LSR_OVER_CE", "ASYNC"), "LSRMODE": ("LSR",),
}  # fmt: skip
"""Parameters of a flip-flop and the values understood, the default first."""
_ADDER = {"INJECT1_0": "NO", "INJECT1_1": "NO"}
_SELECT = 0b11001010  # truth table: input 2 chooses between inputs 0 and 1


class NetlistError(ValueError):
    """A netlist that cannot be simulated faithfully."""


def netlist_verilog(path: Path, *, top: str) -> str:
    """Module ``top`` of a JSON netlist as Yosys writes it, without the cells' models.

    Raises
    ------
    NetlistError
        If it is no whole netlist, or a cell, parameter or value is not understood.
    OSError
        If it cannot be read.
    """
    try:
        return "\n".join(_Writer(json.loads(path.read_bytes())["modules"][top], top).lines()) + "\n"
    except NetlistError as error:
        raise NetlistError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NetlistError(f"{path}: no whole netlist of {top} ({type(error).__name__}: {error})") from None


class _Writer:
    def __init__(self, module: Mapping, top: str):
        self.ports, self.cells, self.top = module["ports"], module["cells"], top
        self.names: dict[int | str, str] = {"0": "1'b0", "1": "1'b1", "x": "1'b0"}
        self.declared: list[str] = []
        self.registers: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
        for port, facts in self.ports.items():
            if facts["direction"] not in ("input", "output"):
                raise NetlistError(f"port {port} is neither input nor output")
            if facts["direction"] == "input":
                many = len(facts["bits"]) > 1
                self.names |= {bit: f"{port}[{i}]" if many else port for i, bit in enumerate(facts["bits"])}

    def lines(self) -> Iterator[str]:
        yield f"module {self.top} ({', '.join(self.ports)});"
        for port, facts in self.ports.items():
            width = len(facts["bits"])
            yield f"  {facts['direction']} {f'[{width - 1}:0] ' if width > 1 else ''}{port};"
        body = [
            line for number, (name, cell) in enumerate(self.cells.items()) for line in self._cell(number, name, cell)
        ]
        for port, facts in self.ports.items():
            if facts["direction"] == "output":
                body.append(f"  assign {port} = {{{', '.join(self._net(bit) for bit in reversed(facts['bits']))}}};")
        held = {q for members in self.registers.values() for q, _, _ in members}
        yield from (f"  {'reg' if name in held else 'wire'} {name};" for name in self.declared)
        yield from body
        yield from self._always()
        yield "endmodule"

    def _declare(self, name: str) -> str:
        self.declared.append(name)
        return name

    def _net(self, bit: int | str) -> str:
        if bit not in self.names:
            if not isinstance(bit, int):
                raise NetlistError(f"constant {bit!r} is not understood")
            self.names[bit] = self._declare(f"n{bit}")
        return self.names[bit]

    def _cell(self, number: int, name: str, cell: Mapping) -> Iterator[str]:
        kind = _ALIASES.get(cell["type"], cell["type"])
        parameters = {key: _value(text) for key, text in cell["parameters"].items() if key not in _IGNORED}
        pins = {pin: [self._net(bit) for bit in bits] for pin, bits in cell["connections"].items()}
        one = {pin: names[0] for pin, names in pins.items() if len(names) == 1}
        try:
            match kind:
                case "$scopeinfo":
                    pass
                case "LUT4":
                    function = expression(_bits(parameters, "INIT"), [one[pin] for pin in "ABCD"])
                    yield f"  assign {one['Z']} = {function};"
                case "PFUMX":
                    yield f"  assign {one['Z']} = {expression(_SELECT, [one['BLUT'], one['ALUT'], one['C0']])};"
                case "L6MUX21":
                    yield f"  assign {one['Z']} = {expression(_SELECT, [one['D0'], one['D1'], one['SD']])};"
                case "CCU2C":
                    yield from self._adder(number, parameters, one)
                case "TRELLIS_FF":
                    self._register(parameters, one)
                case _ if kind in _INSTANCES:
                    yield _instance(number, kind, parameters, pins)
                case _:
                    raise NetlistError(f"no model of {kind}")
        except NetlistError as error:
            raise NetlistError(f"cell {name}: {error}") from None
        except KeyError as error:
            raise NetlistError(f"cell {name}: {kind} without {error}") from None

    def _adder(self, number: int, parameters: Mapping, one: Mapping) -> Iterator[str]:
        """Two bits of a carry chain: sum = propagate ^ carry, next carry = propagate ? carry : generate."""
        for key, value in parameters.items():
            if key not in ("INIT0", "INIT1") and _ADDER.get(key) != value:
                raise NetlistError(f"{key} = {value} is not modelled")
        carry = one["CIN"]
        for half in "01":
            table, inputs = parameters[f"INIT{half}"], [one[pin + half] for pin in "ABCD"]
            propagate, generate = (self._declare(f"{letter}{number}_{half}") for letter in "pg")
            yield f"  assign {propagate} = {expression(table, inputs)};"
            yield f"  assign {generate} = {expression(table & 0xF, inputs[:2])};"
            if f"S{half}" in one:
                yield f"  assign {one[f'S{half}']} = {expression(0b0110, [propagate, carry])};"
            if half == "0" or "COUT" in one:
                following = self._declare(f"c{number}") if half == "0" else one["COUT"]
                yield f"  assign {following} = {expression(_SELECT, [generate, carry, propagate])};"
                carry = following

    def _register(self, parameters: Mapping, one: Mapping) -> None:
        for key, value in parameters.items():
            if value not in _FF.get(key, ()):
                raise NetlistError(f"{key} = {value} is not modelled")
        chosen = {key: parameters.get(key, values[0]) for key, values in _FF.items()}
        events = [("negedge " if chosen["CLKMUX"] == "INV" else "posedge ") + one["CLK"]]
        reset, enable = one.get("LSR", "1'b0"), ""
        if chosen["LSRMUX"] == "INV":
            reset = f"~{reset}"
        if reset == "1'b0":
            reset = ""
        elif chosen["SRMODE"] == "ASYNC":
            events.append(("negedge " if reset[0] == "~" else "posedge ") + one["LSR"])
        if chosen["CEMUX"] != "1":
            enable = one["CE"] if chosen["CEMUX"] == "CE" else f"~{one['CE']}"
        value = "1'b1" if chosen["REGSET"] == "SET" else "1'b0"
        self.registers.setdefault((" or ".join(events), reset, enable), []).append((one["Q"], one["DI"], value))

    def _always(self) -> Iterator[str]:
        for (events, reset, enable), members in self.registers.items():
            yield f"  always @({events})"
            if reset:
                yield f"    if ({reset}) begin"
                yield from (f"      {q} <= {value};" for q, _, value in members)
                yield "    end else"
            yield f"    if ({enable}) begin" if enable else "    begin"
            yield from (f"      {q} <= {d};" for q, d, _ in members)
            yield "    end"
        yield "  initial begin"
        yield from (f"    {q} = {value};" for members in self.registers.values() for q, _, value in members)
        yield "  end"


def _instance(number: int, kind: str, parameters: Mapping, pins: Mapping) -> str:
    """An instance of a model, without the parameters that say nothing: equal instances then share their code."""
    parameters = {key: value for key, value in parameters.items() if value or not key.startswith("INITVAL")}
    if kind == "MULT18X18D":
        for pin in ("SOURCEA", "SOURCEB"):
            _require(pins, pin, "1'b0", "an operand shifted in from a neighbour")
    if kind == "DP16KD":
        clocks = {name for pin in ("CLKA", "CLKB") for name in pins.get(pin, []) if "'" not in name}
        if len(clocks) != 1:
            raise NetlistError(f"a block RAM with {len(clocks)} clocks is not modelled")
        if parameters.get("DATA_WIDTH_A") == 36:
            _require(pins, "WEB", "1'b0", "a write beside a port of 36 bits")
        if parameters.get("DATA_WIDTH_B") == 36 and parameters.get("REGMODE_A") == "OUTREG":
            _require(pins, "OCEA", "1'b1", "an output register of 36 bits whose lower half is not enabled")
        if all(pins.get(pin) in (None, ["1'b0"]) for pin in ("RSTA", "RSTB")):
            parameters = {key: value for key, value in parameters.items() if "RESET" not in key}
    values = ", ".join(f".{key}({_literal(value)})" for key, value in parameters.items())
    binds = ", ".join(f".{pin}({{{', '.join(reversed(names))}}})" for pin, names in pins.items())
    return f"  {kind} #({values}) u{number} ({binds});"


def _require(pins: Mapping, pin: str, value: str, otherwise: str) -> None:
    if pins.get(pin, ["1'b0"]) != [value]:
        raise NetlistError(f"{otherwise} is not modelled ({pin} must be {value[-1]})")


def _value(text: str) -> int | str:
    """A parameter: bits, undefined ones as 0, or a text, to which Yosys adds a space if it looks like bits."""
    return int(text.replace("x", "0"), 2) if text and not text.strip("01x") else text.rstrip(" ")


def _bits(parameters: Mapping[str, int | str], name: str) -> int:
    """A parameter that must be bits."""
    value = parameters[name]
    if isinstance(value, str):
        raise NetlistError(f"{name} must be bits, not {value!r}")
    return value


def _literal(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{max(value.bit_length(), 1)}'h{value:x}"
