# SPDX-License-Identifier: Apache-2.0
"""STORE in the cycle model: :class:`hw.io.store.StoreEngine`, its stream taken at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gen.cycles.run import Run
from hw.io.store import StoreEngine
from sim.sequence import Command

__all__ = ["StoreTiming"]


class StoreTiming:
    """A read per cycle while the port and a place in the buffer are free, and the beats' way out."""

    def __init__(self, run: Run):
        self._run, self._words = run, StoreEngine.words_of(run.config)
        self._offered: tuple[Command, int, Callable[[], None]] | None = None
        self._command: Command | None = None
        self._start = self._left = 0
        self._leaving: deque[int] = deque()  # cycle in which each buffered beat is gone
        self._free_at = 0

    @property
    def active(self) -> bool:
        """Whether a command is in the engine."""
        return self._offered is not None or self._command is not None

    def offer(self, command: Command, cycle: int, taken: Callable[[], None]) -> None:
        """See :class:`gen.cycles.run.Engine`."""
        self._offered = command, cycle, taken

    def step(self, cycle: int, read_free: bool) -> None:
        """One cycle."""
        while self._leaving and self._leaving[0] < cycle:
            self._leaving.popleft()
        if self._command is not None:
            if read_free and len(self._leaving) < self._run.latencies.store_beats:
                self._read(self._command, cycle)
        elif self._offered is not None and self._offered[1] <= cycle:
            self._command, self._start = self._offered[0], cycle
            self._left, taken = self._command.beats, self._offered[2]
            self._offered = None
            taken()

    def _read(self, command: Command, cycle: int) -> None:
        self._left -= 1
        self._free_at = max(cycle + self._run.latencies.store, self._free_at) + self._words
        self._leaving.append(self._free_at - 1)
        if self._left == 0:
            self._command = None
            self._run.signal(command.signal, cycle)
            self._run.log("store", command, self._start, self._free_at - 1, command.beats)
            if command.last:
                self._run.frames.append(self._free_at - 1)
