# SPDX-License-Identifier: Apache-2.0
"""Boolean functions of a few inputs as short expressions: what a look-up table becomes in a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

__all__ = ["expression"]

_Tree = tuple  # ("0",), ("1",), ("v", number), ("~", tree), ("&" | "|" | "^", tree, tree)
_ZERO, _ONE = ("0",), ("1",)


def expression(table: int, inputs: Sequence[str]) -> str:
    """A Verilog expression for bit ``sum(inputs[i] << i)`` of ``table``.

    Parameters
    ----------
    table : int
        The truth table, ``2 ** len(inputs)`` bits.
    inputs : sequence of str
        Names; ``1'b0`` and ``1'b1`` are constants, of which nothing is left.
    """
    names = list(inputs)
    for i in reversed(range(len(names))):
        same = names.index(names[i])
        if names[i] in ("1'b0", "1'b1"):
            table = _cofactor(table, len(names), i, names[i] == "1'b1")
        elif same < i:  # the same signal twice: only rows where both inputs agree can be reached
            low, high = (_cofactor(table, len(names), i, value) for value in (False, True))
            mask = _variable(same, len(names) - 1)
            table = (low & ~mask) | (high & mask)
        else:
            continue
        del names[i]
    return _text(_tree(table, len(names))[1], names)


def _variable(number: int, count: int) -> int:
    """The truth table of input ``number`` of ``count``."""
    return sum(1 << row for row in range(1 << count) if row >> number & 1)


def _cofactor(table: int, count: int, number: int, value: bool) -> int:
    """The function of the other inputs that is left when one is fixed."""
    rows = [row for row in range(1 << count) if (row >> number & 1) == value]
    return sum((table >> row & 1) << i for i, row in enumerate(rows))


@cache
def _tree(table: int, count: int) -> tuple[int, _Tree]:
    """Operations and form of the cheapest expression found, splitting off one input after the other."""
    full = (1 << (1 << count)) - 1
    if table in (0, full):
        return 0, _ONE if table else _ZERO
    forms: list[tuple[int, _Tree]] = []
    for number in range(count):
        low, high = (_cofactor(table, count, number, value) for value in (False, True))
        below = (1 << (1 << (count - 1))) - 1
        v = ("v", number)

        def rest(function: int, number: int = number) -> tuple[int, _Tree]:
            cost, tree = _tree(function, count - 1)
            return cost, _raise(tree, number)

        if low == high:
            found = rest(low)
        elif (low, high) == (0, below):
            found = 0, v
        elif (low, high) == (below, 0):
            found = 1, ("~", v)
        elif low == 0:
            found = _join("&", (0, v), rest(high))
        elif high == 0:
            found = _join("&", (1, ("~", v)), rest(low))
        elif low == below:
            found = _join("|", (1, ("~", v)), rest(high))
        elif high == below:
            found = _join("|", (0, v), rest(low))
        elif low == high ^ below:
            found = _join("^", (0, v), rest(low))
        else:  # low ^ (v & (low ^ high)) and its mirror image: no branch for a processor to guess
            change = rest(low ^ high)
            found = min(
                _join("^", rest(low), _join("&", (0, v), change)),
                _join("^", rest(high), _join("&", (1, ("~", v)), change)),
            )
        forms.append(found)
    return min(forms)


def _join(operator: str, a: tuple[int, _Tree], b: tuple[int, _Tree]) -> tuple[int, _Tree]:
    return a[0] + b[0] + 1, (operator, a[1], b[1])


def _raise(tree: _Tree, number: int) -> _Tree:
    """The tree with inputs renumbered for one more input, ``number``, among them."""
    if tree[0] == "v":
        return ("v", tree[1] + (tree[1] >= number))
    return (tree[0], *(_raise(branch, number) for branch in tree[1:]))


def _text(tree: _Tree, names: Sequence[str]) -> str:
    match tree:
        case ("v", number):
            return names[number]
        case ("~", branch):
            return f"~{_text(branch, names)}"
        case (operator, left, right):
            return f"({_text(left, names)} {operator} {_text(right, names)})"
    return f"1'b{tree[0]}"
