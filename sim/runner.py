# SPDX-License-Identifier: Apache-2.0
"""Runs cocotb testbenches on Verilator, from an ordinary pytest function.

A component ``hw/thing.py`` has a testbench ``sim/tb/tb_thing.py`` (cocotb coroutines, run inside the simulator) and a
test ``tests/test_thing.py`` (pytest, runs the simulator once for each parameter set)::

    # tests/test_thing.py
    import pytest
    from hw.thing import Thing
    from sim.runner import run_cocotb

    @pytest.mark.parametrize("lanes", [1, 4, 16])
    def test_thing(lanes):
        run_cocotb(Thing(lanes=lanes), "sim.tb.tb_thing", lanes=lanes)

    # sim/tb/tb_thing.py
    import cocotb
    import numpy as np
    from sim.golden import thing
    from sim.tb.streams import StreamSink, StreamSource, pack, unpack
    from sim.tb import parameters, rng, start

    @cocotb.test()
    async def equals_golden(dut):
        lanes = parameters()["lanes"]               # the keyword arguments given to run_cocotb
        await start(dut)                            # 10 ns clock, reset
        source = StreamSource(dut, "i", stall=0.3)  # idles before a word with this probability, again and again
        sink = StreamSink(dut, "o", stall=0.3)      # refuses likewise, and checks the protocol
        data = rng().integers(-128, 128, size=(200, lanes))
        source.send(pack(data, 8))                  # a list of ints, one a word; returns at once
        words = await sink.receive(200)             # a list of ints
        assert (unpack(words, 8, lanes) == thing(data)).all()
        await sink.expect_nothing()

Ports that are no streams are driven and read directly (``dut.enable.value = 1``, ``int(dut.count.value)``) between
``await tick(dut)``: values read then are those that the clock edge just passed has seen, values written then take
effect after it. A testbench that hangs fails after ``start(dut, limit=...)`` cycles. The tests of one module run one
after the other on the same device: memories keep their contents.

The seed is a fixed function of the test module and parameters; ``RTLFORMER_SEED=n pytest ...`` chooses another one. A
failure names it, and keeps the log in ``build/cocotb/``. With ``RTLFORMER_WAVES=1`` a failure also leaves the waves of
all signals there, ``waves.fst`` (for GTKWave or Surfer), and names the file.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
import find_libpython
from amaranth.lib import wiring

from hw.verilog import to_verilog
from sim import verilate

__all__ = ["build_cocotb", "run_cocotb"]


def run_cocotb(
    design: wiring.Component | str,
    test_module: str,
    *,
    top: str = "top",
    testcase: str | None = None,
    timeout: float = 900,
    **params: object,
) -> None:
    """Builds ``design`` and runs every cocotb test of ``test_module`` on it.

    Parameters
    ----------
    design : wiring.Component or str
        A fresh component, or Verilog text whose top module is ``top``. The build is cached by the Verilog's hash.
    test_module : str
        Dotted name, for instance ``"sim.tb.tb_stream"``.
    testcase : str
        Run this cocotb test only.
    timeout : float
        Seconds of real time after which the simulator is ended.
    params
        Whatever JSON can carry; the testbench reads them with :func:`sim.tb.parameters`.

    Raises
    ------
    AssertionError
        If a test fails, none ran, or the simulator stopped early: names the tests, the seed and the log.
    """
    __tracebackhide__ = True
    verilog = design if isinstance(design, str) else to_verilog(design, name=top)
    waves = os.environ.get("RTLFORMER_WAVES", "0") not in ("", "0")
    program = build_cocotb(verilog, top=top, waves=waves)
    encoded = json.dumps(params, sort_keys=True)
    seed = int(os.environ.get("RTLFORMER_SEED") or zlib.crc32(f"{test_module} {encoded}".encode()))
    root = verilate.build_root() / "cocotb"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{test_module.rpartition('.')[2]}-", dir=root))
    log, results, wave = folder / "log.txt", folder / "results.xml", folder / "waves.fst"
    inputs = [port.name for port in verilate.ports(verilog, top) if port.is_input]
    env = _environment(top, test_module, seed, results)
    env |= {"RTLFORMER_PARAMETERS": encoded, "RTLFORMER_INPUTS": " ".join(inputs)}
    if testcase:
        env["COCOTB_TEST_FILTER"] = rf"\.{re.escape(testcase)}$"
    try:
        with log.open("w") as output:
            command = [str(program), *(["--trace", "--trace-file", str(wave)] if waves else [])]
            status = subprocess.run(
                command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, timeout=timeout, check=False
            ).returncode
        failed, ran = _read_results(results)
        problem = f"failed: {', '.join(failed)}" if failed else "no test ran" if not ran else ""
        problem = problem or (f"the simulator ended with status {status}" if status else "")
    except subprocess.TimeoutExpired:
        problem = f"did not end within {timeout:g} s"
    if problem:
        tail = log.read_text(errors="replace")[-6000:]
        shown = f"waves: {wave}\n" if wave.exists() else ""
        raise AssertionError(f"{test_module} {encoded} seed {seed}: {problem}\nlog: {log}\n{shown}{tail}")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def build_cocotb(verilog: str, *, top: str = "top", waves: bool = False) -> Path:
    """The simulator of ``verilog`` with cocotb in it; only the top module's ports are visible to testbenches.

    ``waves``: it can write the waves of every signal.
    """
    libs = cocotb_tools.config.libs_dir
    harness = (cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp").read_text(encoding="utf-8")
    # Making every signal public, as cocotb's own runner does, costs twice the run time.
    public = [f'public_flat_rw -module "{top}" -var "{port.name}"\n' for port in verilate.ports(verilog, top)]
    return verilate.build(
        verilog,
        top=top,
        harness=harness,
        control="".join(public),
        options=["--vpi", "--timescale", "1ns/1ps"],
        waves=waves,
        link=[f"-L{libs}", f"-Wl,-rpath,{libs}", "-lcocotbvpi_verilator"],
    )


def _environment(top: str, test_module: str, seed: int, results: Path) -> dict[str, str]:
    libpython = find_libpython.find_libpython()
    if libpython is None:
        release = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise verilate.ToolMissing(
            f"{sys.executable} has no shared libpython, which cocotb loads: install it (Debian: libpython{release})"
        )
    return {
        **os.environ,
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_LOG_LEVEL": "WARNING",
        "GPI_USERS": f"{libpython};{cocotb_tools.config.pygpi_entry_point()}",
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([os.environ.get("PATH", ""), str(cocotb_tools.config.libs_dir)]),
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path]),
        "TOPLEVEL_LANG": "verilog",
    }


def _read_results(path: Path) -> tuple[list[str], int]:
    """Names of the failed tests, and how many ran."""
    if not path.exists():
        return [], 0
    cases = list(ElementTree.parse(path).iter("testcase"))
    failed = [
        case.get("name", "?") for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    return failed, len(cases)
