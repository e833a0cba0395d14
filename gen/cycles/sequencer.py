# SPDX-License-Identifier: Apache-2.0
"""The sequencer in the cycle model: :class:`hw.program.sequencer.Sequencer`, a program word per cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gen.cycles.gate import Gate
from gen.cycles.run import Run
from hw.program.commands import Engine
from hw.program.instructions import Opcode
from sim.sequence import Step

__all__ = ["SequencerTiming"]


class SequencerTiming:
    """Passes ``steps`` on to the queues, from cycle 0 on."""

    def __init__(self, run: Run, steps: Iterator[Step], gates: Mapping[Engine, Gate]):
        self._run, self._steps, self._gates = run, steps, gates
        self._step: Step | None = next(steps)
        self._word_at = run.latencies.redirect
        run.at(self._word_at, self.fetch)

    @property
    def ended(self) -> bool:
        """Whether nothing is left of the program."""
        return self._step is None

    def fetch(self) -> None:
        """Pass on instructions until one finds its queue full."""
        late = self._run.latencies
        while self._step is not None and self._run.now >= self._word_at:
            step = self._step
            gate = None if step.kind.engine is None else self._gates[step.kind.engine]
            if gate is not None and gate.credit == 0:
                return
            last = self._run.now + len(step.kind.words) - 1
            if gate is not None and step.command is not None:
                gate.credit -= 1
                gate.push(step.command, last + late.dispatch)
            self._word_at = last + 1
            if step.redirect:
                self._word_at = last + (late.restart if step.kind.opcode == Opcode.END else late.redirect)
            self._step = next(self._steps, None)
            self._run.at(self._word_at, self.fetch)
