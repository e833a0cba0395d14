# SPDX-License-Identifier: Apache-2.0
"""Builds and loads the native library of one core: its verilated Verilog with the clock loop of ``harness.cpp``."""

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sim import verilate
from sim.native import declare, open_library

__all__ = ["BUDGET_USED", "DEADLOCK", "REACHED", "Library", "Probe", "State", "load"]

BUDGET_USED, REACHED, DEADLOCK = range(3)
CYCLES, INPUT_TAKEN, OUTPUTS, FRAMES = range(4)

_HARNESS = Path(__file__).parent / "harness.cpp"
_PORTS = {
    ("clk", 1, True),
    ("rst", 1, True),
    ("run", 1, True),
    ("s_axis_tdata", 64, True),
    ("s_axis_tvalid", 1, True),
    ("s_axis_tready", 1, False),
    ("m_axis_tdata", 64, False),
    ("m_axis_tvalid", 1, False),
    ("m_axis_tready", 1, True),
    ("m_axis_tlast", 1, False),
    ("busy", 8, False),
    ("frames_done", 32, False),
    ("errors", 4, False),
    ("clear_errors", 4, True),
    ("model_written", 1, False),
    ("load_crc", 32, False),
    ("clear_crc", 1, True),
}


class State(ctypes.Structure):
    """Counters that the clock loop keeps; mirrors ``struct State`` of ``harness.cpp``."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("cycle", "pending", "last_taken", "outputs", "progress", "idle_limit")),
        *((name, ctypes.c_uint32) for name in ("run", "seq_len", "busy", "frames_done", "errors", "load_crc")),
    ]


@dataclass(frozen=True)
class Probe:
    """A pair of signals ``probe_<name>_valid`` and ``probe_<name>_data`` in the core's top module."""

    name: str
    width: int

    @property
    def words(self) -> int:
        """32-bit words of one entry, as Verilator stores ``width`` bits."""
        return -(-self.width // 32) if self.width > 32 else 1


@dataclass(frozen=True)
class Library:
    """The loaded functions, and the probes that the design has, in the order of its logs."""

    functions: ctypes.CDLL
    probes: tuple[Probe, ...]


def load(verilog: str, *, top: str, waves: bool, progress: Callable[[str], None] | None) -> Library:
    """Builds (or finds) and loads the library of ``verilog``.

    Raises
    ------
    ValueError
        If the ports of ``top`` are not those of a core.
    """
    _check_ports(verilog, top)
    probes = _find_probes(verilog, top)
    member = f"{top}__DOT__probe_"
    entries = (f"X({p.name}, {member}{p.name}_valid, {member}{p.name}_data)" for p in probes)
    names = (f"probe_{probe.name}_{part}" for probe in probes for part in ("valid", "data"))
    path = verilate.build(
        verilog,
        top=top,
        harness=f"#define PROBES(X) {' '.join(entries)}\n" + _HARNESS.read_text(encoding="utf-8"),
        control="".join(f'public_flat_rd -module "{top}" -var "{name}"\n' for name in names),
        options=["--timescale", "1ns/1ns"],
        link=[f"-Wl,--version-script={Path(__file__).parent / 'exports.map'}"],
        shared=True,
        waves=waves,
        progress=progress,
    )
    return Library(_declare(open_library(path)), probes)


def _check_ports(verilog: str, top: str) -> None:
    found = {(port.name, port.width, port.is_input) for port in verilate.ports(verilog, top)}
    lengths = {port for port in found if port[0] == "seq_len" and port[1] <= 16 and port[2]}
    wrong = sorted(_PORTS - found) + sorted(found - _PORTS - lengths)
    if wrong or not lengths:
        names = ", ".join(f"{name} ({width} bit)" for name, width, _ in wrong) or "seq_len (at most 16 bit)"
        raise ValueError(f"module {top!r} has not the ports of a core, missing or unknown: {names}")


def _find_probes(verilog: str, top: str) -> tuple[Probe, ...]:
    """Signals of the top module called ``probe_<name>_valid`` and ``probe_<name>_data``, in alphabetical order."""
    body = verilate.module_text(verilog, top)
    wires = re.findall(r"^\s*(?:wire|reg)\s+(?:\[(\d+):0\]\s*)?probe_(\w+)_(valid|data)\b", body, re.MULTILINE)
    widths = {(name, part): int(high) + 1 if high else 1 for high, name, part in wires}
    names = sorted(name for name, part in widths if part == "valid" and (name, "data") in widths)
    return tuple(Probe(name, widths[name, "data"]) for name in names)


def _declare(functions: ctypes.CDLL) -> ctypes.CDLL:
    number, size, real, buffer = ctypes.c_int, ctypes.c_uint64, ctypes.c_double, ctypes.c_void_p
    return declare(
        functions,
        "fast",
        {
            "create": (ctypes.c_void_p, [ctypes.c_char_p]),
            "destroy": (None, []),
            "state": (ctypes.POINTER(State), []),
            "reset": (None, []),
            "stall": (None, [real, real, size]),
            "push": (None, [buffer, size]),
            "run": (number, [size, number, size]),
            "enable": (None, [number, number]),
            "log_size": (size, [number]),
            "log_copy": (None, [number, size, size, size, buffer, buffer]),
            "log_last": (None, [size, size, buffer]),
        },
    )
