# SPDX-License-Identifier: Apache-2.0
"""Which engine was busy when: as a trace for Chrome or Perfetto, and as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gen.cycles.run import Operation
from gen.jsontext import json_text
from hw.core import BUSY_BITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Timeline", "chrome_trace", "drawing", "picture"]

Spans = npt.NDArray[np.int64]

_COLOURS = {
    "macs": "#1f6f8b", "feeder": "#5fa8b8", "drain": "#7a9e7e", "softmax": "#d08c60", "norm": "#b56576",
    "store": "#8d80ad", "loader": "#6d6875", "sequencer": "#adb5bd",
}  # fmt: skip
_SAYS = {"macs": "array fed", "feeder": "array command"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """Spans [n, 2] of cycles (from, up to) in which each engine was busy, counted from the start of the run."""

    spans: Mapping[str, Spans]
    cycles: int

    @classmethod
    def measured(
        cls, cycles: npt.NDArray[np.uint64], values: npt.NDArray[np.uint32], *, start: int, end: int
    ) -> Timeline:
        """From the changes of the core's ``busy`` output between two cycles, see :meth:`sim.fast.FastSim.timeline`."""
        edges, levels = cycles.astype(np.int64), values.astype(np.int64)
        before = levels[edges < start]
        levels = np.concatenate([[before[-1] if len(before) else 0], levels[(edges >= start) & (edges < end)]])
        edges = np.concatenate([[start], edges[(edges >= start) & (edges < end)]])
        spans = {}
        for bit, name in enumerate(BUSY_BITS):
            on = np.concatenate([[0], (levels >> bit) & 1, [0]])
            changes = np.diff(on)
            times = np.append(edges, end) - start
            spans[name] = np.stack([times[changes > 0], times[changes < 0]], axis=1)
        return cls(spans=spans, cycles=end - start)

    def busy(self, engine: str) -> int:
        """Cycles in which an engine was busy."""
        return int(np.diff(self.spans[engine], axis=1).sum())


def chrome_trace(timeline: Timeline, predicted: Sequence[Operation] = (), *, title: str) -> str:
    """Trace events for ``chrome://tracing`` or ui.perfetto.dev: one microsecond stands for one cycle.

    Measured activity is one process, the cycle model's commands, by the tensor that each makes, another.
    """
    events: list[dict] = []

    def process(pid: int, name: str, threads: Sequence[str]) -> None:
        events.append({"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}})
        for tid, thread in enumerate(threads):
            events.append({"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": thread}})

    engines = list(timeline.spans)
    process(1, f"measured: {title}", [_SAYS.get(name, name) for name in engines])
    for tid, name in enumerate(engines):
        for begin, end in timeline.spans[name].tolist():
            events.append({"ph": "X", "pid": 1, "tid": tid, "ts": begin, "dur": end - begin, "name": name, "cat": name})
    if predicted:
        kinds = list(dict.fromkeys(operation.engine for operation in predicted))
        process(2, f"predicted by the cycle model: {title}", kinds)
        for operation in predicted:
            events.append(
                {
                    "ph": "X",
                    "pid": 2,
                    "tid": kinds.index(operation.engine),
                    "ts": operation.start,
                    "dur": max(operation.end - operation.start, 1),
                    "name": f"{operation.name} [{operation.i},{operation.j}]",
                    "cat": operation.engine,
                    "args": {"busy": operation.busy, "array fed": operation.macs},
                }
            )
    return json_text({"traceEvents": events, "displayTimeUnit": "ms"}, indent=None) + "\n"


def drawing(timeline: Timeline, *, title: str) -> Figure:
    """The timeline as a Matplotlib figure: one row an engine, with the share of cycles that it was busy."""
    from matplotlib.figure import Figure

    order = [name for name in ("macs", "feeder", "drain", "softmax", "norm", "store", "loader") if name in _COLOURS]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for row, name in enumerate(order):
        spans = timeline.spans[name]
        bars = [(begin, end - begin) for begin, end in spans.tolist()]
        axes.broken_barh(bars, (len(order) - row - 0.8, 0.7), facecolors=_COLOURS[name], linewidth=0)
        share = timeline.busy(name) / max(timeline.cycles, 1)
        axes.text(timeline.cycles * 1.01, len(order) - row - 0.45, f"{share:.0%}", va="center", fontsize=9)
    axes.set_yticks([len(order) - row - 0.45 for row in range(len(order))], [_SAYS.get(name, name) for name in order])
    axes.set_xlim(0, max(timeline.cycles, 1))
    axes.set_ylim(0, len(order) + 0.1)
    axes.set_xlabel("cycles (measured on the Verilog)")
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)  # a $ in a name is a $
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def picture(timeline: Timeline, *, title: str) -> bytes:
    """The :func:`drawing` as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = io.BytesIO()
    FigureCanvasAgg(drawing(timeline, title=title)).print_png(target, metadata={"Software": "rtlformer"})
    return target.getvalue()
