# SPDX-License-Identifier: SHL-2.1
"""Names of signals, as the source has them: the same on every version of Python.

Amaranth names a signal after the variable that it is assigned to, which it looks for in the bytecode. What it finds
there depends on the version: of ``a, b = Signal(), Signal()`` one name or none, and since Python 3.13 it misses every
variable that the next statement begins with. The syntax tree says the same on all of them.
"""

import ast
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any

from amaranth import tracer

__all__ = ["PositionsMissing", "names_from_source"]

_BYTES = 2  # of bytecode that each of a code object's positions stands for
_RAISE = object()

_from_bytecode = tracer.get_var_name


class PositionsMissing(RuntimeError):
    """Code was compiled without the positions by which names are found."""


@contextmanager
def names_from_source() -> Iterator[None]:
    """Signals made meanwhile are named by the syntax tree, wherever there is source text.

    Raises
    ------
    PositionsMissing
        Once one is made by code that ``-X no_debug_ranges`` has compiled.
    """
    before = tracer.get_var_name
    tracer.get_var_name = _var_name
    try:
        yield
    finally:
        tracer.get_var_name = before


def _var_name(depth: int = 2, default: Any = _RAISE) -> Any:
    """In place of :func:`amaranth.tracer.get_var_name`: what the call under way ``depth`` frames up is assigned to."""
    frame = sys._getframe(depth)
    code = frame.f_code
    names = _assigned(code.co_filename)
    if names is None:
        return _from_bytecode(depth + 1) if default is _RAISE else _from_bytecode(depth + 1, default)
    _, line, _, column = next(islice(code.co_positions(), frame.f_lasti // _BYTES, None))
    if line is None or column is None:
        raise PositionsMissing(
            f"{code.co_filename}: compiled without positions, by which signals are named; "
            "remove its __pycache__ and run without -X no_debug_ranges and PYTHONNODEBUGRANGES"
        )
    name = names.get((line, column), default)
    if name is _RAISE:
        raise tracer.NameNotFound
    return name


@cache
def _assigned(filename: str) -> dict[tuple[int, int], str] | None:
    """What each call in a file is assigned to, by line and column of the call's end; None if there is no source."""
    source = "".join(linecache.getlines(filename))
    if not source:
        return None
    names: dict[tuple[int, int], str] = {}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(targets=[target, *_], value=value):
                _note(names, target, value)
            case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
                _note(names, target, value)
    return names


def _note(names: dict[tuple[int, int], str], target: ast.expr, value: ast.expr | None) -> None:
    match target, value:
        case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
            for pair in zip(targets, values, strict=True):
                _note(names, *pair)
        case _, ast.IfExp(body=body, orelse=orelse):
            _note(names, target, body)
            _note(names, target, orelse)
        case ((ast.Name(id=name) | ast.Attribute(attr=name)), ast.Call(end_lineno=line, end_col_offset=column)):
            names[line, column] = name
