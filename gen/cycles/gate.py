# SPDX-License-Identifier: Apache-2.0
"""Gates in the cycle model: :class:`hw.program.semaphores.CommandGate`, behind a queue of the sequencer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gen.cycles.run import Engine, Run
from sim.sequence import Command

__all__ = ["Gate"]


class Gate:
    """A queue's head, held until its semaphores are positive; then the engine's input register.

    Attributes
    ----------
    allow : a further condition on a command
    passed : called when a command goes through
    returned : called when the queue has room again
    credit : commands that the queue has room for
    """

    def __init__(self, run: Run, engine: Engine):
        self._run, self._engine = run, engine
        self._queue: deque[tuple[int, Command]] = deque()
        self._head = 0  # cycle from which the head stands at the gate
        self._granted: int | None = None  # cycle from which it may pass
        self._taken = True  # the engine has taken the last command
        self.allow: Callable[[Command], bool] = lambda command: True
        self.passed: Callable[[], None] = lambda: None
        self.returned: Callable[[], None] = lambda: None
        self.credit = run.latencies.queue

    @property
    def waiting(self) -> bool:
        """Whether commands are held."""
        return bool(self._queue)

    def push(self, command: Command, cycle: int) -> None:
        """``command`` comes to the queue's output in ``cycle``, if none is before it."""
        self._queue.append((cycle, command))
        self._run.at(cycle, self.look)

    def look(self) -> None:
        """Test the head's conditions; called whenever one of them may have changed."""
        now, counts = self._run.now, self._run.semaphores
        if self._granted is None and self._queue:
            cycle, command = self._queue[0]
            if now >= max(cycle, self._head) and self.allow(command) and all(counts[s] for s in command.wait):
                self._granted = now + self._run.latencies.grant
                self._run.at(self._granted, self._pass)

    def _pass(self) -> None:
        now, late = self._run.now, self._run.latencies
        if not self._taken or self._granted is None:
            return  # _take tries again
        _, command = self._queue.popleft()
        self._granted, self._head, self._taken = None, now + late.take, False
        for semaphore in command.wait:
            self._run.semaphores[semaphore] -= 1
        self.passed()
        seen = now + late.passing
        self._run.at(seen, lambda: self._engine.offer(command, seen, self._take))
        self._run.at(now + late.credit, self._return_credit)
        self._run.at(self._head, self.look)

    def _return_credit(self) -> None:
        self.credit += 1
        self.returned()

    def _take(self) -> None:
        """The engine takes the command in this cycle, so that the next one may pass."""
        self._taken = True
        if self._granted is not None and self._granted <= self._run.now:
            self._pass()
