# SPDX-License-Identifier: Apache-2.0
"""Feeder, array and drain in the cycle model: :mod:`hw.array`, a pure pipeline."""

from __future__ import annotations

from collections.abc import Callable

from gen.cycles.ports import Claims
from gen.cycles.run import Run
from hw.program.isa import Destination, Format
from sim.sequence import Command

__all__ = ["ArrayTiming"]

_WRITES = {Destination.ACT: "act_write", Destination.RES: "res_write"}
"""The port that results go through, where it is shared."""


class ArrayTiming:
    """Commands one after another; their beats claim the ports that other engines use too.

    Attributes
    ----------
    done : called when a command's last result has been written
    """

    def __init__(self, run: Run, claims: Claims):
        self._run, self._claims = run, claims
        self._in_flight = 0
        self._free = 0
        self.done: Callable[[], None] = lambda: None

    def allows(self, command: Command) -> bool:
        """Whether no more commands are unfinished than ``command`` admits."""
        return self._in_flight <= command.pending

    def passed(self) -> None:
        """A command went through the gate."""
        self._in_flight += 1

    def offer(self, command: Command, cycle: int, taken: Callable[[], None]) -> None:
        """See :class:`gen.cycles.run.Engine`."""
        start = max(cycle, self._free)
        self._run.at(start, lambda: self._feed(command, start, taken))

    def _feed(self, command: Command, start: int, taken: Callable[[], None]) -> None:
        beats, late = self._run.config.tile_beats, self._run.latencies
        spacing = max(command.k, beats)
        self._free = start + command.n * spacing
        taken()
        first = start + late.feed + spacing - 1  # address of the first tile's last words: tiles are fed at their end

        def claim(port: str, delay: int) -> None:
            self._claims.claim(port, first + delay, spacing, command.n)

        last = first + (command.n - 1) * spacing + beats - 1
        end = last + late.to_write
        scores = command.result == Format.SCORE
        signal = last + late.to_beat + late.to_score_signal if scores else end
        self._run.signal(command.signal, signal)
        self._run.at(end + late.done, self._done)
        if command.add:
            claim("res_read", late.to_beat + late.to_residual)
        if not scores and command.destination in _WRITES:
            claim(_WRITES[command.destination], late.to_write)
        self._run.log("array", command, start, max(end, signal), command.n * spacing, command.n * command.k)

    def _done(self) -> None:
        self._in_flight -= 1
        self.done()
