# SPDX-License-Identifier: Apache-2.0
"""The reference of the memories, ``docs/memories.md``, written from :mod:`hw.memories`.

``python -m gen.emit.memdoc > docs/memories.md`` renews it; a test holds the two together.
"""

from __future__ import annotations

from hw.memories import LOADABLE, MEMORIES

__all__ = ["markdown"]

_INTRODUCTION = """\
# Memories

Written by `python -m gen.emit.memdoc` from `hw/memories.py`, where each memory is declared once.

Each is block RAM whose output goes straight into a register (`hw/memory.py`); where that is not so, "part of" says what
holds it. The loader writes what has a load target: from load packets, or, at power-up, from a model built in. Programs
have no addresses in the rings: a ring's slots go round, one per row block. A capacity is a field of the configuration.
Where clients share a port, the first in the list comes first."""


def markdown() -> str:
    """The page."""
    lines = [
        _INTRODUCTION,
        "",
        "| memory | word | holds | capacity | read by | written by | part of |",
        "|---|---|---|---|---|---|---|",
    ]
    for memory in MEMORIES.values():
        cells = [memory.name, memory.word, memory.holds, memory.capacity or ("ring" if memory.ring else "1 word"),
                 ", ".join(memory.readers), ", ".join(memory.writers), memory.within or ""]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Load targets: " + ", ".join(f"{target.value} {memory.name}" for target, memory in LOADABLE.items())]
    return "\n".join([lines[0], *lines[1:-1], lines[-1] + ".", ""])


if __name__ == "__main__":
    print(markdown(), end="")
