# SPDX-License-Identifier: Apache-2.0
"""Softmax in the cycle model: :class:`hw.softmax.softmax.SoftmaxEngine`, a beat per cycle."""

from __future__ import annotations

from collections.abc import Callable

from gen.cycles.run import Run
from sim.sequence import Command

__all__ = ["SoftmaxTiming"]


class SoftmaxTiming:
    """Commands one after another, each taken with its first beat."""

    def __init__(self, run: Run):
        self._run = run
        self._free = 0
        self._beats = -(-run.tokens // run.config.depth) * run.config.word_beats

    def offer(self, command: Command, cycle: int, taken: Callable[[], None]) -> None:
        """See :class:`gen.cycles.run.Engine`."""
        start = max(cycle, self._free)
        self._free = start + self._beats
        end = self._free - 1 + self._run.latencies.softmax
        self._run.at(start, taken)
        self._run.signal(command.signal, end)
        self._run.log("softmax", command, start, end, self._beats)
