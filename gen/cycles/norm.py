# SPDX-License-Identifier: Apache-2.0
"""LayerNorm in the cycle model: :class:`hw.norm.layernorm.NormEngine`, cycle by cycle, as it shares memory ports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gen.cycles.run import Run
from hw.norm.layernorm import Gather
from sim.sequence import Command

__all__ = ["NormTiming"]


@dataclass(slots=True)
class _Gathering:
    """The first half's command."""

    command: Command
    start: int
    left: int
    state: Gather = Gather.COMPARE
    ready_at: int = 0  # while READY


@dataclass(slots=True)
class _Emitting:
    """The second half's command."""

    command: Command
    start: int
    ready_at: int
    left: int
    reading: bool = False


@dataclass(slots=True)
class _Result:
    """A beat on its way to a memory."""

    earliest: int
    wide: bool
    last: bool


class NormTiming:
    """The next command's sums gather under this one's statistics and output."""

    def __init__(self, run: Run):
        self._run, self._late = run, run.latencies
        self._offered: tuple[Command, int, Callable[[], None]] | None = None
        self._gathering: _Gathering | None = None
        self._emitting: _Emitting | None = None
        self._results: deque[_Result] = deque()
        self._writing: tuple[Command, int] | None = None  # and when it began
        self._last_read = -self._late.norm_gap  # of an output pass

    @property
    def active(self) -> bool:
        """Whether a command is anywhere in the engine."""
        places = (self._offered, self._gathering, self._emitting, self._writing)
        return any(place is not None for place in places)

    @property
    def writes_wide(self) -> bool:
        """Whether the next result goes to RES."""
        return bool(self._results) and self._results[0].wide

    def offer(self, command: Command, cycle: int, taken: Callable[[], None]) -> None:
        """See :class:`gen.cycles.run.Engine`."""
        self._offered = command, cycle, taken

    def step(self, cycle: int, read_free: bool, write_free: bool) -> bool:
        """One cycle; returns whether the read port is asked for."""
        gathering, emitting = self._gathering, self._emitting
        reads = emitting is not None and emitting.reading
        gathers = gathering is not None and gathering.state == Gather.READ
        wants = reads and len(self._results) < self._late.norm_results
        finished = write_free and self._write(cycle)
        if emitting is not None and reads:
            if wants and read_free:
                self._emit(emitting, cycle)
        elif emitting is not None and cycle >= emitting.ready_at and self._writing is None and not finished:
            emitting.reading, self._writing = True, (emitting.command, emitting.start)
        if gathering is None:
            self._accept(cycle)
        else:
            read = gathers and read_free and not wants
            self._gather(gathering, cycle, read=read, emitting=emitting, reads=reads)
        return wants or gathers

    def _write(self, cycle: int) -> bool:
        """A result leaves, if there is one; returns whether it was its command's last."""
        if not self._results or self._results[0].earliest > cycle or self._writing is None:
            return False
        if not self._results.popleft().last:
            return False
        command, start = self._writing
        self._writing = None
        self._run.signal(command.signal, cycle + self._late.norm_signal)
        self._run.log("norm", command, start, cycle, command.beats * (1 + command.out8 + command.out16))
        return True

    def _emit(self, emitting: _Emitting, cycle: int) -> None:
        """A read of the output pass."""
        emitting.left -= 1
        wide = bool(emitting.command.out16 and emitting.left < emitting.command.beats)
        self._results.append(_Result(cycle + self._late.norm_written, wide, emitting.left == 0))
        self._last_read = cycle
        if emitting.left == 0:
            self._emitting = None

    def _accept(self, cycle: int) -> None:
        """Take the command that is offered, if there is one."""
        if self._offered is not None and self._offered[1] <= cycle:
            command, _, taken = self._offered
            self._gathering = _Gathering(command, cycle, command.beats)
            self._offered = None
            taken()

    def _gather(
        self, gathering: _Gathering, cycle: int, *, read: bool, emitting: _Emitting | None, reads: bool
    ) -> None:
        """The first half's next cycle; ``emitting`` and ``reads``: the second half's state as this cycle began."""
        late = self._late
        if gathering.state == Gather.COMPARE:
            gathering.state = Gather.CHECK
        elif gathering.state == Gather.CHECK:
            # Results of an earlier command to these rows must be out, unless they are flowing.
            earlier = self._writing[0] if self._writing is not None and not reads else None
            writers = (emitting.command if emitting is not None else None, earlier)
            if not any(w is not None and w.out16 and w.res == gathering.command.src for w in writers):
                gathering.state = Gather.READ
        elif gathering.state == Gather.READ:
            gathering.left -= read
            if gathering.left == 0:
                gathering.state, gathering.ready_at = Gather.READY, cycle + late.norm_hand_over
        elif cycle >= gathering.ready_at and emitting is None and cycle - self._last_read >= late.norm_gap:
            command = gathering.command
            left = command.beats * (command.out8 + command.out16)
            self._emitting = _Emitting(command, gathering.start, cycle + late.norm_statistics, left)
            self._gathering = None
