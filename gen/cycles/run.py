# SPDX-License-Identifier: Apache-2.0
"""A run of the cycle model: its clock, what is to happen when, the semaphores, and the record of what happened."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gen.cycles.latencies import Latencies
from hw.config import CoreConfig
from hw.program.isa import Semaphore
from sim.sequence import Command

__all__ = ["Engine", "Operation", "Run"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One command's place in time. ``busy``: cycles that it takes of its engine; ``macs``: cycles that feed the array;
    ``end``: the cycle of its last write."""

    engine: str
    name: str
    i: int
    j: int
    start: int
    end: int
    busy: int
    macs: int = 0


class Engine(Protocol):
    """What takes the commands that pass a gate."""

    def offer(self, command: Command, cycle: int, taken: Callable[[], None]) -> None:
        """The gate's output holds ``command`` from ``cycle`` on, until the engine takes it and calls ``taken``."""


class Run:
    """What the engines share.

    Attributes
    ----------
    now : the present cycle; cycle 0 is that of ``run``
    semaphores : counts, as the gates see them
    operations : what engines logged, in order
    result : cycle by which the last result is in the output buffer, and signalled
    frames : cycle in which each result's last word leaves
    """

    def __init__(
        self,
        config: CoreConfig,
        tokens: int,
        latencies: Latencies,
        *,
        semaphores: dict[Semaphore, int],
        tags: Mapping[int, object],
    ):
        self.config, self.tokens, self.latencies, self.semaphores = config, tokens, latencies, semaphores
        self.now = 0
        self.operations: list[Operation] = []
        self.result = 0
        self.frames: list[int] = []
        self.signalled: Callable[[], None] = lambda: None
        """Called whenever counts have grown."""
        self._tags = tags
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, cycle: int, action: Callable[[], None]) -> None:
        """Do ``action`` in ``cycle``; actions of a cycle come in the order in which they were asked for."""
        self._order += 1
        heapq.heappush(self._events, (cycle, self._order, action))

    @property
    def next_event(self) -> int | None:
        """The cycle of the next action."""
        return self._events[0][0] if self._events else None

    def act(self) -> None:
        """Go on to the next action, and do it."""
        self.now, _, action = heapq.heappop(self._events)
        action()

    def signal(self, semaphores: Iterable[Semaphore], cycle: int) -> None:
        """An engine signals ``semaphores`` in ``cycle``."""
        given = tuple(semaphores)
        if Semaphore.OUTPUT_FULL in given:
            self.result = cycle + 1
        if given:
            self.at(cycle + self.latencies.signal, lambda: self._add(given))

    def _add(self, semaphores: tuple[Semaphore, ...]) -> None:
        for semaphore in semaphores:
            self.semaphores[semaphore] += 1
        self.signalled()

    def log(self, engine: str, command: Command, start: int, end: int, busy: int, macs: int = 0) -> None:
        """Record an operation."""
        name = str(self._tags.get(command.address) or engine)
        self.operations.append(Operation(engine, name, command.i, command.j, start, end, busy, macs))
