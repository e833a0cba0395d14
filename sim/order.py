# SPDX-License-Identifier: Apache-2.0
"""Proof that a program is correct for any timing: every memory hazard is covered by semaphores, order or ``pending``.

While :class:`sim.machine.Machine` runs commands in program order, this checker keeps for each engine a vector clock:
the number of commands of every engine that must have ended before a command starts, whatever the timing. Known for
certain are: engines start and end their commands in order; the k-th take of a semaphore follows its k-th signal, sent
as a command ends; ARRAY starts only once all but ``pending`` of its earlier commands have ended. Then

* a read needs the last writer's end before the reader's start;
* a write needs the end of the readers, and of the last writer, of other engines (an engine's own writes and reads of
  earlier commands come first by themselves: each is an in-order pipeline).
"""

from __future__ import annotations

import numpy as np

from hw.program.isa import SEMAPHORE_INITIAL, Semaphore
from sim.golden import IntArray

__all__ = ["ENGINES", "HazardError", "OrderChecker"]

ENGINES = ("LOADER", "ARRAY", "SOFTMAX", "NORM", "STORE")


class HazardError(RuntimeError):
    """A read or write that some timing would make too early."""


class OrderChecker:
    """Vector clocks of one run; ``sizes`` are the words of each memory that is watched."""

    def __init__(self, sizes: dict[str, int], slots: int):
        n = len(ENGINES)
        self.sizes = sizes
        self._started = [np.zeros(n, np.int64) for _ in ENGINES]  # clock of each engine's last start
        self._ended = [[np.zeros(n, np.int64)] for _ in ENGINES]  # clocks after each of its commands
        initial = SEMAPHORE_INITIAL(slots)
        self._signals = {s: [np.zeros(n, np.int64)] * initial.get(s, 0) for s in Semaphore}
        self._taken = dict.fromkeys(Semaphore, 0)
        self._producer: dict[Semaphore, int] = {}
        self._writer = {name: np.full(size, -1) for name, size in sizes.items()}
        self._written = {name: np.zeros(size, np.int64) for name, size in sizes.items()}
        self._read = {name: np.zeros((n, size), np.int64) for name, size in sizes.items()}
        self._engine = 0
        self._clock = self._started[0]
        self._what = ""

    def begin(self, engine: str, wait: tuple[Semaphore, ...], pending: int | None, what: str) -> None:
        """The next command of ``engine`` starts. ``pending`` is ARRAY's, ``what`` names the command in errors."""
        e = ENGINES.index(engine)
        clock = self._started[e].copy()
        for semaphore in wait:
            np.maximum(clock, self._signals[semaphore][self._taken[semaphore]], out=clock)
            self._taken[semaphore] += 1
        if pending is not None:
            ended = self._ended[e]
            np.maximum(clock, ended[max(len(ended) - 1 - pending, 0)], out=clock)
        self._started[e] = clock
        self._engine, self._clock, self._what = e, clock, what

    def end(self, signal: tuple[Semaphore, ...]) -> None:
        """The command that began last ends and signals."""
        e = self._engine
        ended = np.maximum(self._clock, self._ended[e][-1])
        ended[e] = len(self._ended[e])
        self._ended[e].append(ended)
        for semaphore in signal:
            if self._producer.setdefault(semaphore, e) != e:
                raise HazardError(f"{self._what}: {semaphore.name} is signalled by two engines")
            self._signals[semaphore].append(ended)

    def _fail(self, late: IntArray, memory: str, words: IntArray, verb: str, owner: str) -> None:
        if late.any():
            word = int(words[np.argmax(late)])
            raise HazardError(f"{self._what}: {verb} {memory}[{word}] while {owner} may still be at work on it")

    def read(self, memory: str, words: IntArray) -> None:
        """The current command reads these words."""
        words = np.unique(words)
        writer, number = self._writer[memory][words], self._written[memory][words]
        own = (writer == self._engine) & (number == len(self._ended[self._engine]))  # in place, in one command
        late = (writer >= 0) & ~own & (number > self._clock[writer])
        self._fail(late, memory, words, "reads", "its writer")
        self._read[memory][self._engine, words] = len(self._ended[self._engine])

    def write(self, memory: str, words: IntArray) -> None:
        """The current command writes these words."""
        words = np.unique(words)
        writer, number = self._writer[memory][words], self._written[memory][words]
        late = (writer >= 0) & (writer != self._engine) & (number > self._clock[writer])
        self._fail(late, memory, words, "writes", "another writer")
        for e, name in enumerate(ENGINES):
            if e != self._engine:
                self._fail(self._read[memory][e, words] > self._clock[e], memory, words, "writes", f"reader {name}")
        self._writer[memory][words] = self._engine
        self._written[memory][words] = len(self._ended[self._engine])
