# SPDX-License-Identifier: Apache-2.0
"""The engines of the cycle model together: when each command is fetched, passes its gate, is started and finished.

A word per cycle is fetched, a signal takes some cycles to a gate, and so on, as the components of the same names state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gen.cycles.array import ArrayTiming
from gen.cycles.gate import Gate
from gen.cycles.latencies import Latencies
from gen.cycles.loader import LoaderTiming
from gen.cycles.norm import NormTiming
from gen.cycles.ports import Claims
from gen.cycles.run import Operation, Run
from gen.cycles.sequencer import SequencerTiming
from gen.cycles.softmax import SoftmaxTiming
from gen.cycles.store import StoreTiming
from hw.config import CoreConfig
from hw.program.commands import Engine
from hw.program.isa import SEMAPHORE_INITIAL, Semaphore
from sim.sequence import walk

__all__ = ["Simulation"]


class Simulation:
    """Passes of a program, from cycle 0 on.

    Parameters
    ----------
    frames : passes; with ``input_words`` the loader delivers that many inputs of that many words (header included), one
        word per cycle, else the first input is resident
    """

    def __init__(
        self,
        program: Sequence[int],
        config: CoreConfig,
        tokens: int,
        latencies: Latencies,
        *,
        tags: Mapping[int, object] | None = None,
        frames: int = 1,
        input_words: int = 0,
    ):
        semaphores = {s: SEMAPHORE_INITIAL(config.slots).get(s, 0) for s in Semaphore}
        if not input_words:
            semaphores |= {Semaphore.INPUT_FREE: 0, Semaphore.INPUT_FULL: 1}
        self._run = run = Run(config, tokens, latencies, semaphores=semaphores, tags=tags or {})
        self._claims = Claims(config)
        array = ArrayTiming(run, self._claims)
        self._norm, self._store = NormTiming(run), StoreTiming(run)
        self._gates = {
            Engine.ARRAY: Gate(run, array),
            Engine.SOFTMAX: Gate(run, SoftmaxTiming(run)),
            Engine.NORM: Gate(run, self._norm),
            Engine.STORE: Gate(run, self._store),
        }
        steps = (step for _ in range(frames) for step in walk(tuple(program), config, tokens))
        self._sequencer = SequencerTiming(run, steps, self._gates)
        for gate in self._gates.values():
            gate.returned = self._sequencer.fetch
        gate = self._gates[Engine.ARRAY]
        gate.allow, gate.passed, array.done = array.allows, array.passed, gate.look
        self._loader = LoaderTiming(run, inputs=frames if input_words else 0, words=input_words)
        run.signalled = self._look

    @property
    def operations(self) -> Sequence[Operation]:
        """Of all passes, in program order of each engine."""
        return self._run.operations

    @property
    def result(self) -> int:
        """Cycle by which the last result is in the output buffer, and signalled."""
        return self._run.result

    @property
    def frames(self) -> Sequence[int]:
        """Cycle in which each result's last word leaves."""
        return self._run.frames

    def _look(self) -> None:
        for gate in self._gates.values():
            gate.look()
        self._loader.look()

    def go(self) -> None:
        """Run to the end.

        Raises
        ------
        RuntimeError
            If commands are left that nothing can release.
        """
        run = self._run
        while True:
            active, following = self._norm.active or self._store.active, run.next_event
            if active and (following is None or following > run.now):
                self._step(run.now)
                run.now += 1
            elif following is not None:
                run.act()
            else:
                break
        if not self._sequencer.ended or any(gate.waiting for gate in self._gates.values()):
            raise RuntimeError("The program comes to a halt: a command waits for what nothing signals")

    def _step(self, cycle: int) -> None:
        """One cycle of LayerNorm and STORE: the drain comes first at every port, then LayerNorm."""
        free = self._claims.free("res_read", cycle)
        if self._norm.active:
            write = self._claims.free("res_write" if self._norm.writes_wide else "act_write", cycle)
            free = not self._norm.step(cycle, free, write) and free
        if self._store.active:
            self._store.step(cycle, free)
