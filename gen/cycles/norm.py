# SPDX-License-Identifier: Apache-2.0
"""LayerNorm and STORE in the cycle model, and the memory ports that they share with the drain, cycle by cycle."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hw.config import CoreConfig
from hw.memory import SHARED_READ_LATENCY
from hw.norm.layernorm import QUEUE_DEPTH
from hw.program.isa import Opcode
from sim.sequence import Command

if TYPE_CHECKING:
    from gen.cycles.engines import Latencies, Simulation

__all__ = ["Ports"]

_QUEUE = QUEUE_DEPTH - 2  # results that LayerNorm may have under way: what has left counts two cycles more
_STORE_BEATS = 8  # beats that STORE buffers
_STORE_LATENCY = SHARED_READ_LATENCY + 2  # from a RES address to the stream


class Ports:
    """Ports of RES and ACT: the drain's claims come first, then LayerNorm's, then STORE's."""

    def __init__(self, simulation: Simulation, latencies: Latencies, config: CoreConfig):
        self._claims = {name: bytearray() for name in ("res_read", "res_write", "act_write")}
        self._beats = config.tile_beats
        self.norm = NormTiming(simulation, latencies)
        self.store = StoreTiming(simulation, max(config.lanes // 4, 1))

    def claim(self, port: str, start: int, spacing: int, tiles: int) -> None:
        """The drain takes ``port`` for the beats of ``tiles`` tiles, ``spacing`` cycles apart, from ``start`` on."""
        claims, end = self._claims[port], start + spacing * tiles
        if len(claims) < end:
            claims.extend(bytes(2 * end - len(claims)))
        claims[start:end] = (b"\1" * self._beats + bytes(spacing - self._beats)) * tiles

    def _taken(self, port: str, cycle: int) -> bool:
        claims = self._claims[port]
        return cycle < len(claims) and claims[cycle] != 0

    @property
    def active(self) -> bool:
        """Whether cycles must be stepped through."""
        return self.norm.active or self.store.active

    def step(self, cycle: int) -> None:
        """One cycle of LayerNorm and STORE."""
        free = not self._taken("res_read", cycle)
        if self.norm.active:
            wide = self.norm.writes_wide
            write = not self._taken("res_write" if wide else "act_write", cycle)
            free = not self.norm.step(cycle, free, write) and free
        if self.store.active:
            self.store.step(cycle, free)


class NormTiming:
    """:class:`hw.norm.layernorm.NormEngine`: the next command's sums gather under this one's statistics and output."""

    def __init__(self, simulation: Simulation, latencies: Latencies):
        self._simulation, self._latencies = simulation, latencies
        self._offered: tuple[Command, int] | None = None
        self._gather, self._gather_left, self._gather_at = "idle", 0, 0
        self._coming: Command | None = None
        self._coming_start = 0
        self._emit, self._emit_left, self._statistics_at = "idle", 0, 0
        self._current: Command | None = None
        self._current_start = 0
        self._last_emit = -100
        self._results: deque[tuple[int, bool, bool]] = deque()  # earliest write cycle, 16-bit form, last of its command
        self._writing: Command | None = None
        self._writing_start = 0
        self._idle_cycles = 0

    @property
    def active(self) -> bool:
        """Whether a command is anywhere in the engine."""
        return self._offered is not None or self._gather != "idle" or self._emit != "idle" or self._writing is not None

    @property
    def writes_wide(self) -> bool:
        """Whether the next result goes to RES."""
        return bool(self._results) and self._results[0][1]

    def offer(self, command: Command, cycle: int) -> None:
        """The gate's output holds ``command`` from ``cycle`` on."""
        self._offered = command, cycle

    def step(self, cycle: int, read_free: bool, write_free: bool) -> bool:
        """One cycle; returns whether the read port is asked for."""
        late = self._latencies
        gather, emit = self._gather, self._emit
        wants_emit = emit == "read" and len(self._results) < _QUEUE
        wants_gather = gather == "read"

        # Results leave.
        if self._results and write_free and self._results[0][0] <= cycle:
            _, _, last = self._results.popleft()
            if last:
                command = self._writing
                self._simulation.signal(command.signal, cycle + 1)
                self._simulation.log(
                    "norm", command, self._writing_start, cycle, command.beats * (1 + command.out8 + command.out16)
                )
                self._writing = None
                finished = True
            else:
                finished = False
        else:
            finished = False

        # Second half.
        if wants_emit and read_free:
            self._emit_left -= 1
            wide = self._current.out16 and self._emit_left < self._current.beats
            last = self._emit_left == 0
            self._results.append((cycle + late.norm_written, bool(wide), last))
            self._last_emit = cycle
            if last:
                self._emit = "idle"
        elif emit == "statistics" and cycle >= self._statistics_at and self._writing is None and not finished:
            self._emit, self._writing, self._writing_start = "read", self._current, self._current_start
            self._emit_left = self._current.beats * (self._current.out8 + self._current.out16)

        # First half.
        if gather == "read":
            if read_free and not wants_emit:
                self._gather_left -= 1
                if self._gather_left == 0:
                    self._gather, self._gather_at = "ready", cycle + late.norm_summed + 1
        elif gather == "compare":
            self._gather = "check"
        elif gather == "check":
            # Results of an earlier command to these rows must be out, unless they are flowing.
            source = emit != "idle" and self._current.out16 and self._current.res == self._coming.src
            writing = self._writing
            earlier = writing is not None and writing.out16 and writing.res == self._coming.src and emit != "read"
            if not source and not earlier:
                self._gather = "read"
        elif gather == "ready":
            if cycle >= self._gather_at and emit == "idle" and cycle - self._last_emit >= late.norm_gap:
                self._current, self._current_start = self._coming, self._coming_start
                self._emit, self._statistics_at = "statistics", cycle + late.norm_statistics
                self._gather = "idle"
        elif self._offered is not None and self._offered[1] <= cycle:
            self._coming, self._coming_start = self._offered[0], cycle
            self._offered = None
            self._gather, self._gather_left = "compare", self._coming.beats
            self._simulation.gate(Opcode.NORM).taken()
        return wants_emit or wants_gather


class StoreTiming:
    """:class:`hw.io.store.StoreEngine`, its stream taken at once."""

    def __init__(self, simulation: Simulation, words: int):
        self._simulation, self._words = simulation, words
        self._offered: tuple[Command, int] | None = None
        self._command: Command | None = None
        self._start = self._left = 0
        self._leaving: deque[int] = deque()  # cycle in which each buffered beat is gone
        self._free_at = 0

    @property
    def active(self) -> bool:
        """Whether a command is in the engine."""
        return self._offered is not None or self._command is not None

    def offer(self, command: Command, cycle: int) -> None:
        """The gate's output holds ``command`` from ``cycle`` on."""
        self._offered = command, cycle

    def step(self, cycle: int, read_free: bool) -> None:
        """One cycle."""
        while self._leaving and self._leaving[0] < cycle:
            self._leaving.popleft()
        if self._command is not None:
            if read_free and len(self._leaving) < _STORE_BEATS:
                self._left -= 1
                self._free_at = max(cycle + _STORE_LATENCY, self._free_at) + self._words
                self._leaving.append(self._free_at - 1)
                if self._left == 0:
                    command, self._command = self._command, None
                    self._simulation.signal(command.signal, cycle)
                    self._simulation.log("store", command, self._start, self._free_at - 1, command.beats)
                    if command.last:
                        self._simulation.frames.append(self._free_at - 1)
        elif self._offered is not None and self._offered[1] <= cycle:
            self._command, self._start = self._offered[0], cycle
            self._offered, self._left = None, self._command.beats
            self._simulation.gate(Opcode.STORE).taken()
