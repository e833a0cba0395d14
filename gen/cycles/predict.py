# SPDX-License-Identifier: Apache-2.0
"""Cycle model: predicts, without Verilog, the cycles a program takes and what each engine does when.

Event-driven at the granularity of commands: sequencer with its queues, gates and semaphores, feeder, drain, softmax and
loader; only LayerNorm and STORE go cycle by cycle while they are active, since they share memory ports. Latencies come
from the hardware's own constants (:mod:`gen.cycles.latencies`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gen.cycles.latencies import Latencies
from gen.cycles.run import Operation
from gen.cycles.simulation import Simulation
from hw.config import CoreConfig
from sim.qmodel import Attention, FirstRow, QuantModel, linears

__all__ = [
    "Compiled",
    "CyclePrediction",
    "Latencies",
    "Operation",
    "predict",
    "predict_interval",
    "useful_macs",
    "utilisation",
]

STREAM_FRAMES = 4
"""Inputs that are followed to find the steady state."""


class Compiled(Protocol):
    """What the cycle model asks of a compiled model, as :class:`gen.program.image.Image` answers it."""

    @property
    def config(self) -> CoreConfig:
        """Of the core that it is compiled for."""

    @property
    def program(self) -> tuple[int, ...]:
        """Program words."""

    @property
    def tags(self) -> Mapping[int, object]:
        """The name of each instruction, by word address."""

    @property
    def max_tokens(self) -> int:
        """The longest input, in tokens."""

    def input_words(self, tokens: int) -> int:
        """Stream words of an input of ``tokens`` tokens, header included."""


@dataclass(frozen=True, kw_only=True)
class CyclePrediction:
    """Cycles of one input of ``tokens`` tokens.

    Attributes
    ----------
    single : from the start, the input resident in its buffer, until the last result is in the output buffer
    busy : cycles in which each engine works, in the single run; "macs": cycles that feed the array
    operations : every command of the single run, in program order
    """

    tokens: int
    single: int
    busy: Mapping[str, int]
    operations: tuple[Operation, ...]


def predict(image: Compiled, tokens: int | None = None, *, latencies: Latencies | None = None) -> CyclePrediction:
    """Predict the cycles of ``image`` on one input of ``tokens`` tokens (the longest unless given)."""
    tokens = image.max_tokens if tokens is None else tokens
    late = latencies or Latencies.of(image.config)
    run = Simulation(image.program, image.config, tokens, late, tags=image.tags)
    run.go()
    busy = dict.fromkeys(("array", "macs", "softmax", "norm", "store"), 0)
    for operation in run.operations:
        busy[operation.engine] += operation.busy
        busy["macs"] += operation.macs
    return CyclePrediction(tokens=tokens, single=run.result, busy=busy, operations=tuple(run.operations))


def predict_interval(image: Compiled, tokens: int) -> int:
    """Predict the cycles between results of a stream of inputs of ``tokens`` tokens, transfers of one 64-bit word per
    cycle included."""
    late, words = Latencies.of(image.config), image.input_words(tokens)
    run = Simulation(image.program, image.config, tokens, late, frames=STREAM_FRAMES, input_words=words)
    run.go()
    return run.frames[-2] - run.frames[-3]  # the last one has nothing behind it


def useful_macs(model: QuantModel, tokens: int | None = None) -> int:
    """Multiply-accumulates that a model needs: unpadded, all tokens; the classifier's head on one."""
    tokens = model.max_tokens if tokens is None else tokens
    total, rows = 0, tokens
    for _, block in model.named():
        if isinstance(block, FirstRow):
            rows = 1
        if isinstance(block, Attention):
            total += 2 * model.heads * rows * rows * model.head_dim
        total += rows * sum(matrix.weight.size for matrix in linears(block))
    return total


def utilisation(macs: int, cycles: float, config: CoreConfig) -> float:
    """``macs / (cycles * multipliers in the array)``."""
    return macs / (cycles * config.macs)
