# SPDX-License-Identifier: Apache-2.0
"""The engines of the cycle model: when each command is fetched, released by its gate, started and finished.

A semaphore that is signalled in cycle t releases a gate so that its engine takes the command in t + 5; a program word
is accepted each cycle; and so on, as the hardware modules of the same names state. Cycle 0 is that of ``run``.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from amaranth.lib.wiring import Component

from gen.cycles.norm import Ports
from hw.arith.requantise import Requantiser
from hw.array.drain import Drain
from hw.array.pe_array import PEArray
from hw.array.rowmax import RowMaximum
from hw.config import CoreConfig
from hw.memory import READ_LATENCY, SHARED_READ_LATENCY
from hw.norm.lane import NormLane
from hw.norm.layernorm import NormEngine
from hw.program.isa import SEMAPHORE_INITIAL, Destination, Format, Opcode, Semaphore
from hw.program.semaphores import SIGNAL_LATENCY, TAKE_LATENCY
from hw.program.sequencer import QUEUE_DEPTH, Sequencer
from hw.softmax.softmax import signal_latency
from sim.sequence import Command, Step, walk

__all__ = ["Latencies", "Operation", "Simulation"]

_GATES = (Opcode.ARRAY, Opcode.SOFTMAX, Opcode.NORM, Opcode.STORE)


def _consulted(component: Component) -> Component:
    """``component``, of which only constants are wanted: Amaranth is not to warn that it never became hardware."""
    for part in vars(component).values():
        if isinstance(part, Component):
            _consulted(part)
    component._MustUse__silence = True
    return component


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Cycles, most of them from the constants of the hardware classes."""

    redirect: int
    """From a redirection of the fetch to the next word."""
    dispatch: int
    """From an instruction's last word to the queue's output."""
    queue: int
    """Commands of each queue."""
    to_beat: int
    """From an operand address to beat 0 of its tile before the requantisers."""
    to_write: int
    """From an operand address to the write of beat 0 of its tile."""
    to_residual: int
    """From beat 0 to its residual's read."""
    to_score_signal: int
    """From the last beat of scores to their signal."""
    softmax: int
    """From softmax's last beat to its signal."""
    norm_summed: int
    """From LayerNorm's last read to the row sums."""
    norm_statistics: int
    norm_written: int
    """From LayerNorm's read of the output pass to the write."""
    norm_gap: int
    """Between the last read of an output pass and the next command's statistics."""

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, config: CoreConfig) -> Latencies:
        """Those of a core of ``config``."""
        drain = _consulted(Drain(config, array_latency=_consulted(PEArray(config)).latency))
        norm = _consulted(NormEngine(config))
        return cls(
            redirect=READ_LATENCY + 4,
            dispatch=Sequencer.LATENCY + 1 + 2 + 1,
            queue=QUEUE_DEPTH,
            to_beat=drain.beat_latency,
            to_write=drain.write_latency,
            to_residual=Requantiser.LATENCY - SHARED_READ_LATENCY,
            to_score_signal=_consulted(RowMaximum(config)).latency + 1,
            softmax=signal_latency(config),
            norm_summed=norm.summed,
            norm_statistics=norm.cycles(0, 0) - norm.next_cycles(0) - NormEngine.WRITTEN,
            norm_written=NormEngine.WRITTEN,
            norm_gap=NormEngine.READ + NormLane.SQUARE,
        )


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


class _Gate:
    """A queue's head, held until its semaphores are positive; then the engine's input register."""

    def __init__(self, simulation: Simulation, engine: Callable[[Command, int], None]):
        self._simulation, self._engine = simulation, engine
        self._queue: deque[tuple[int, Command]] = deque()
        self._head = 0  # cycle from which the head stands at the gate
        self._granted = -1
        self._taken = True  # the engine has taken the last command
        self.allow: Callable[[Command], bool] = lambda command: True
        self.credit = 0

    @property
    def waiting(self) -> bool:
        """Whether commands are held."""
        return bool(self._queue)

    def push(self, command: Command, cycle: int) -> None:
        self._queue.append((cycle, command))
        self._simulation.at(cycle, self.look)

    def look(self) -> None:
        """Test the head's conditions; called whenever one of them may have changed."""
        now, counts = self._simulation.now, self._simulation.semaphores
        if self._granted < 0 and self._queue:
            cycle, command = self._queue[0]
            if now >= max(cycle, self._head) and self.allow(command) and all(counts[s] for s in command.wait):
                self._granted = now + 1
                self._simulation.at(now + 1, self._pass)

    def _pass(self) -> None:
        now = self._simulation.now
        if not self._taken or self._granted < 0:
            return  # taken() tries again
        _, command = self._queue.popleft()
        self._granted, self._head, self._taken = -1, now + TAKE_LATENCY, False
        for semaphore in command.wait:
            self._simulation.semaphores[semaphore] -= 1
        self._simulation.passed(command)
        self._simulation.at(now + 1, lambda: self._engine(command, now + 1))
        self._simulation.at(now + 3, self._return_credit)
        self._simulation.at(self._head, self.look)

    def _return_credit(self) -> None:
        self.credit += 1
        self._simulation.fetch()

    def taken(self) -> None:
        """The engine takes the command in this cycle, so that the next one may pass."""
        self._taken = True
        if 0 <= self._granted <= self._simulation.now:
            self._pass()


class Simulation:
    """Passes of a program, from cycle 0 on.

    Parameters
    ----------
    frames : passes; with ``input_words`` the loader delivers that many inputs of that many words (header included), one
        word a cycle, else the first input is resident

    Attributes
    ----------
    operations : of all passes, in program order of each engine
    result : cycle by which the last result is in the output buffer, and signalled
    frames : cycle in which each result's last word leaves
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
        semaphores: Mapping[Semaphore, int] | None = None,
    ):
        self.config, self.latencies, self.tokens = config, latencies, tokens
        self.now = 0
        self.operations: list[Operation] = []
        self.result = 0
        self.frames: list[int] = []
        self._tags = tags or {}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self.semaphores = {s: SEMAPHORE_INITIAL(config.slots).get(s, 0) for s in Semaphore}
        if not input_words:
            self.semaphores |= {Semaphore.INPUT_FREE: 0, Semaphore.INPUT_FULL: 1}
        self.semaphores |= semaphores or {}
        self.ports = Ports(self, latencies, config)
        engines = (self._array, self._softmax, self.ports.norm.offer, self.ports.store.offer)
        self._gates = {opcode: _Gate(self, engine) for opcode, engine in zip(_GATES, engines, strict=True)}
        for gate in self._gates.values():
            gate.credit = latencies.queue
        self._gates[Opcode.ARRAY].allow = lambda command: self._in_flight <= command.pending
        self._in_flight = 0
        self._array_free = self._softmax_free = 0
        self._steps: Iterator[Step] = (step for _ in range(frames) for step in walk(tuple(program), config, tokens))
        self._step = next(self._steps)
        self._word_at = latencies.redirect
        self.at(self._word_at, self.fetch)
        self._inputs_left, self._input_words, self._loading = (frames if input_words else 0), input_words, False
        self._header_at = 0
        self._load()

    # --- events

    def at(self, cycle: int, action: Callable[[], None]) -> None:
        """Do ``action`` in ``cycle``."""
        self._order += 1
        heapq.heappush(self._events, (cycle, self._order, action))

    def go(self) -> None:
        """Run to the end.

        Raises
        ------
        RuntimeError
            If commands are left that nothing can release.
        """
        events = self._events
        while events or self.ports.active:
            if self.ports.active and (not events or events[0][0] > self.now):
                self.ports.step(self.now)
                self.now += 1
                continue
            self.now, _, action = heapq.heappop(events)
            action()
        if self._step is not None or any(gate.waiting for gate in self._gates.values()):
            raise RuntimeError("The program comes to a halt: a command waits for what nothing signals")

    def signal(self, semaphores: tuple[Semaphore, ...], cycle: int) -> None:
        """Semaphores signalled in ``cycle``."""
        if Semaphore.OUTPUT_FULL in semaphores:
            self.result = cycle + 1
        if semaphores:
            self.at(cycle + 1 + SIGNAL_LATENCY, lambda: self._add(semaphores))

    def _add(self, semaphores: tuple[Semaphore, ...]) -> None:
        for semaphore in semaphores:
            self.semaphores[semaphore] += 1
        for gate in self._gates.values():
            gate.look()
        self._load()

    def log(self, engine: str, command: Command, start: int, end: int, busy: int, macs: int = 0) -> None:
        """Record an operation."""
        name = str(self._tags.get(command.address) or engine)
        self.operations.append(Operation(engine, name, command.i, command.j, start, end, busy, macs))

    def gate(self, opcode: Opcode) -> _Gate:
        """The gate of an engine."""
        return self._gates[opcode]

    # --- sequencer

    def fetch(self) -> None:
        """Pass on instructions until one finds its queue full."""
        while self._step is not None and self.now >= self._word_at:
            step = self._step
            gate = self._gates.get(step.opcode)
            if gate is not None and gate.credit == 0:
                return
            last = self.now + step.words - 1
            if step.command is not None:
                gate.credit -= 1
                gate.push(step.command, last + self.latencies.dispatch)
            self._word_at = last + 1
            if step.redirect:
                self._word_at = last + self.latencies.redirect + (step.opcode == Opcode.END)
            self._step = next(self._steps, None)
            self.at(self._word_at, self.fetch)

    def passed(self, command: Command) -> None:
        """A command went through its gate."""
        if command.engine == Opcode.ARRAY:
            self._in_flight += 1

    # --- array

    def _array(self, command: Command, cycle: int) -> None:
        start = max(cycle, self._array_free)
        self.at(start, lambda: self._feed(command, start))

    def _feed(self, command: Command, start: int) -> None:
        c, late = self.config, self.latencies
        spacing = max(command.k, c.tile_beats)
        self._array_free = start + command.n * spacing
        self._gates[Opcode.ARRAY].taken()
        first = start + spacing  # operand address of the first tile's last words: a short tile is fed at its end
        beats_of = lambda delay: (first + delay, spacing, command.n)  # noqa: E731
        last = first + (command.n - 1) * spacing + c.tile_beats - 1
        end = last + late.to_write
        signal = last + late.to_beat + late.to_score_signal if command.result == Format.SCORE else end
        self.signal(command.signal, signal)
        self.at(end + 1, self._done)
        if command.add:
            self.ports.claim("res_read", *beats_of(late.to_beat + late.to_residual))
        if command.result != Format.SCORE:
            port = {Destination.ACT: "act_write", Destination.RES: "res_write"}.get(command.destination)
            if port:
                self.ports.claim(port, *beats_of(late.to_write))
        self.log("array", command, start, max(end, signal), command.n * spacing, command.n * command.k)

    def _done(self) -> None:
        self._in_flight -= 1
        self._gates[Opcode.ARRAY].look()

    # --- softmax

    def _softmax(self, command: Command, cycle: int) -> None:
        start = max(cycle, self._softmax_free)
        beats = -(-self.tokens // self.config.depth) * self.config.word_beats
        self._softmax_free = start + beats
        end = start + beats - 1 + self.latencies.softmax
        self.at(start, self._gates[Opcode.SOFTMAX].taken)
        self.signal(command.signal, end)
        self.log("softmax", command, start, end, beats)

    # --- loader

    def _load(self) -> None:
        """Start on the next input once its region is free."""
        if self._loading or not self._inputs_left:
            return
        if self.now <= self._header_at:
            self.at(self._header_at + 1, self._load)
            return
        if self.semaphores[Semaphore.INPUT_FREE]:
            self.semaphores[Semaphore.INPUT_FREE] -= 1
            self._loading = True
            end = self.now + self._input_words + 1  # data words follow the take, leave the buffer, then the signal
            self.signal((Semaphore.INPUT_FULL,), end)
            self.at(end, self._loaded)

    def _loaded(self) -> None:
        self._inputs_left -= 1
        self._loading, self._header_at = False, self.now + 1
        self._load()
