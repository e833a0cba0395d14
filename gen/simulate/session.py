# SPDX-License-Identifier: Apache-2.0
"""A compiled model on the fast simulator: loading, inference, observation and cycle counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.program.image import Image
from gen.program.tensors import STREAMS
from hw.core import BUSY_BITS
from hw.io.passes import PassGuard
from sim.fast import FastSim, Progress
from sim.golden import IntArray

__all__ = ["Session", "Timing"]

_WORKING = sum(1 << BUSY_BITS.index(name) for name in ("feeder", "drain", "softmax", "norm"))


@dataclass(frozen=True)
class Timing:
    """Cycles measured on the running core."""

    single: int
    """From start, the input resident in its buffer, to the last result in the output buffer."""
    engines: dict[str, int]
    """Cycles in which each engine was busy meanwhile; "macs": in which the array was fed."""


class Session:
    """One core running one model.

    Parameters
    ----------
    image : Image
    verilog : str
        The core's Verilog, of ``image.config``.
    top : str
        Name of its top module.
    load : bool
        Load the model over the input stream; otherwise the Verilog's initial contents must hold it.
    trace : bool
        Observe every intermediate tensor, for :meth:`tensors`.
    waves, progress, building : see :class:`sim.fast.FastSim`
    """

    def __init__(
        self,
        image: Image,
        verilog: str,
        *,
        top: str,
        load: bool = True,
        trace: bool = False,
        waves: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        building: Callable[[str], None] | None = None,
    ):
        self.image = image
        self.sim = FastSim(
            verilog, top=top, trace=STREAMS if trace else (), waves=waves, progress=progress, building=building
        )
        self._seen = dict.fromkeys(STREAMS, 0)
        if load:
            for packet in image.load_packets():
                self.sim.load(packet)

    def close(self) -> None:
        """End the simulation."""
        self.sim.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, x: npt.ArrayLike) -> IntArray:
        """The result of one input [tokens, features], as integers; the core rests before and after."""
        tokens = len(np.asarray(x))
        self.sim.set(seq_len=tokens)
        self.sim.push(self.image.input_packet(x))
        self._start()
        return self._finish(tokens)

    def timed(self, x: npt.ArrayLike) -> tuple[IntArray, Timing]:
        """As :meth:`run`, but the input is made resident first, and the run is timed from the start signal."""
        tokens = len(np.asarray(x))
        self.sim.set(run=0, seq_len=tokens)
        self.sim.load(self.image.input_packet(x))
        self.sim.step(16)  # the packet's last word has been written
        start = self.sim.cycle + PassGuard.LENGTH_LATENCY
        self._start()
        result = self._finish(tokens)
        cycles, values = (series.astype(np.int64) for series in self.sim.timeline())
        idle = cycles[(cycles > start) & (values & _WORKING == 0)]
        # `busy` is a register: a change shows one cycle late. The engines may pause; the last pause counts.
        last = cycles[(cycles > start) & (np.append(0, values[:-1]) & _WORKING != 0)].max() if len(idle) else start
        engines = {}
        edges, levels = np.append(cycles, self.sim.cycle), np.append(values, 0)
        for bit, name in enumerate(BUSY_BITS):
            spans = np.diff(edges) * ((levels[:-1] >> bit) & 1)
            engines[name] = int(spans[(edges[:-1] >= start)].sum())
        return result, Timing(single=int(last - start - 1), engines=engines)

    def stream(self, inputs: Iterable[npt.ArrayLike]) -> tuple[IntArray, npt.NDArray[np.int64]]:
        """Results of inputs of one length sent back to back, and the cycle at which each one's last word left."""
        rows = [np.asarray(x) for x in inputs]
        tokens = len(rows[0])
        words = self.image.output_words(tokens)
        self.sim.set(run=1, seq_len=tokens)
        self.sim.push(np.concatenate([self.image.input_packet(x) for x in rows]))
        self.sim.step(4)
        results, cycles = [], []
        for number in range(len(rows)):
            if number == len(rows) - 1:  # its pass has begun, for the one before has sent its result
                self.sim.set(run=0)
            out = self.sim.collect(words)
            results.append(self.image.decode_output(out.data, tokens))
            cycles.append(int(out.cycle[-1]))
        self._settle()
        for _ in range(self._begun() - self.sim.frames_done):  # begun while `run` was high, and waiting for an input
            self.sim.push(self.image.input_packet(rows[-1]))
            self.sim.collect(words)
            self._settle()
        return np.stack(results), np.array(cycles)

    def tensors(self, tokens: int) -> dict[str, IntArray]:
        """Every named tensor that the core made since the last call, which must be one pass over ``tokens`` tokens."""
        beats = {}
        for name, (bits, signed) in STREAMS.items():
            lanes = self.sim.lanes(name, bits, signed=signed)[:, : self.image.config.lanes]
            beats[name], self._seen[name] = lanes[self._seen[name] :], len(lanes)
        return self.image.collect(tokens, beats)

    def _finish(self, tokens: int) -> IntArray:
        words = self.image.output_words(tokens)
        out = self.sim.collect(words)
        self._settle()
        return self.image.decode_output(out.data, tokens)

    def _begun(self) -> int:
        """Passes that the sequencer has begun."""
        _, values = self.sim.timeline()
        busy = (values >> BUSY_BITS.index("sequencer")).astype(np.int64) & 1
        return int((np.diff(busy, prepend=0) == 1).sum())

    def _start(self) -> None:
        """Pulse ``run``: one pass, whatever its length."""
        self.sim.step(PassGuard.LENGTH_LATENCY)
        self.sim.set(run=1)
        self.sim.step(1)
        self.sim.set(run=0)

    def _settle(self) -> None:
        """Let the counters behind the last word come to rest."""
        self.sim.step(64)
