# SPDX-License-Identifier: Apache-2.0
"""The loader in the cycle model: :class:`hw.io.loader.Loader`, its stream never empty."""

from __future__ import annotations

from gen.cycles.run import Run
from hw.program.isa import Semaphore

__all__ = ["LoaderTiming"]


class LoaderTiming:
    """``inputs`` inputs of ``words`` words, header included, one after another as their region becomes free."""

    def __init__(self, run: Run, *, inputs: int, words: int):
        self._run = run
        self._left, self._words = inputs, words
        self._loading = False
        self._ready_at = run.latencies.load_header  # the header has been looked at
        self.look()

    def look(self) -> None:
        """Start on the next input once its region is free."""
        run = self._run
        if self._loading or not self._left:
            return
        if run.now < self._ready_at:
            run.at(self._ready_at, self.look)
            return
        if run.semaphores[Semaphore.INPUT_FREE]:
            run.semaphores[Semaphore.INPUT_FREE] -= 1
            self._loading = True
            end = run.now + self._words - 1 + run.latencies.load_signal
            run.signal((Semaphore.INPUT_FULL,), end)
            run.at(end, self._loaded)

    def _loaded(self) -> None:
        self._left -= 1
        self._loading, self._ready_at = False, self._run.now + 1 + self._run.latencies.load_header
        self.look()
