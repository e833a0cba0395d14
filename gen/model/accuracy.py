# SPDX-License-Identifier: Apache-2.0
"""How far integer results are from those of the float model, where that arises, and how many values saturate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen.model.blocks import Checkpoint
from gen.model.floatmodel import forward
from gen.model.quantize import integer_inputs
from sim import reference
from sim.blocks import Part, beside
from sim.qmodel import Attention, FeedForward, Norm, PatchEmbedding, QuantModel, Residual

__all__ = ["MAX_ERROR", "Accuracy", "assess", "held_out", "output_error"]

MAX_ERROR = 0.25
"""A larger error of the output makes a model useless. Those in docs/numerics.md are from 1 to 9 %."""

HELD_OUT = 32  # samples at most: more tell little more
HELD_OUT_OF = 4  # one of so many
FEW_STEPS = 16
"""A tensor whose deviation is fewer steps of the residual stream lost its accuracy there."""

ROUNDING = 0.01  # a stage's error that is nothing but that of int8 operands


def output_error(found: npt.ArrayLike, expected: npt.ArrayLike, among: npt.ArrayLike | None = None) -> float | None:
    """RMS of ``found - expected`` over the standard deviation of ``among``, which is ``expected`` unless given.

    None where that is not defined: all of them are equal, as one logit of one sample is.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    among = expected if among is None else np.asarray(among, np.float64)
    if not np.ptp(among):  # whose deviation may be a little above 0, from rounding
        return None
    largest = max(np.abs(expected).max(), np.abs(among).max())  # so that no square overflows
    return float(np.sqrt(np.mean((found / largest - expected / largest) ** 2)) / (among / largest).std())


def held_out(samples: Sequence[npt.NDArray]) -> tuple[list[npt.NDArray], list[npt.NDArray]]:
    """``samples`` to calibrate with, and those to measure with: a quarter, 32 at most, spread evenly.

    One sample does for neither without the other: then there is none to measure with.
    """
    count = min(max(len(samples) // HELD_OUT_OF, 1), HELD_OUT) if len(samples) > 1 else 0
    chosen = {(2 * number + 1) * len(samples) // (2 * count) for number in range(count)}
    return (
        [sample for number, sample in enumerate(samples) if number not in chosen],
        [sample for number, sample in enumerate(samples) if number in chosen],
    )


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """An integer model against the float one, on samples.

    Attributes
    ----------
    samples : how many
    error : of the output, see :func:`output_error`
    stages : error of the residual stream behind each step, by the name of what was added last, in order
    saturated : share of each integer tensor's values that lie at the ends of their range
    origin : where an error above the limit arises: the stage whose values leave the others too few steps of the
        residual stream, else that behind which the error grows most
    """

    samples: int
    error: float | None
    stages: dict[str, float | None]
    saturated: dict[str, float]
    origin: str | None


def assess(
    checkpoint: Checkpoint,
    model: QuantModel,
    samples: Sequence[npt.NDArray],
    *,
    among: Sequence[npt.NDArray] | None = None,
    limit: float = MAX_ERROR,
    name: str = "input",
) -> Accuracy:
    """Run ``samples`` through ``checkpoint`` and through ``model``, quantised from it; ``name`` stands for them.

    ``among``: samples whose outputs give the deviation the error is related to, where those are too few to tell.

    Raises
    ------
    InputError
        If the samples do not fit the model.
    """
    stages, bounds = dict(_stages(model)), _bounds(model)
    updates = {"embedding", *(block for block, made in model.named() if Part.UPDATE in made.makes)}
    expected: dict[str, npt.NDArray] = {}
    peaks: dict[str, float] = {}

    def observe(tensor: str, value: npt.NDArray) -> None:
        if tensor in stages or tensor == "output":
            expected[tensor] = value
        if tensor in updates:
            peaks[tensor] = float(np.abs(value).max())

    rows = integer_inputs(checkpoint, model, samples, name)
    forward(checkpoint, samples, observe)
    found: dict[str, list[npt.NDArray]] = {tensor: [] for tensor in expected}
    ends: dict[str, list[int]] = {}
    for row in rows:
        trace = reference.forward(model, row)
        for tensor, values in found.items():
            values.append(trace[tensor].reshape(-1, expected[tensor].shape[-1]))
        for tensor, value in trace.items():
            if tensor in bounds:
                least, largest = bounds[tensor]
                count = ends.setdefault(tensor, [0, 0])
                count[0] += int(((value <= least) | (value >= largest)).sum())
                count[1] += value.size
    residual = model.scales["residual"]
    real = {tensor: np.concatenate(values) * residual for tensor, values in found.items() if tensor != "output"}
    errors = {stages[tensor]: output_error(value, expected[tensor]) for tensor, value in real.items()}
    spread = None if among is None else np.concatenate([np.ravel(result) for result in forward(checkpoint, among)])
    error = output_error(np.concatenate(found["output"]) * model.scales["output"], expected["output"], spread)
    origin = None
    if error is not None and error > limit:
        coarse = any(np.std(expected[tensor] / residual) < FEW_STEPS for tensor in real)
        origin = max(peaks, key=peaks.__getitem__) if coarse else _growth(errors | {"output": error})
    return Accuracy(
        samples=len(rows),
        error=error,
        stages=errors,
        saturated={tensor: at_end / values for tensor, (at_end, values) in ends.items()},
        origin=origin,
    )


def _growth(errors: dict[str, float | None]) -> str:
    """The stage behind which the error is the greatest multiple of that before it."""
    values = [max(error or 0.0, ROUNDING) for error in errors.values()]
    growth = [after / before for before, after in zip([ROUNDING, *values], values, strict=False)]
    return list(errors)[int(np.argmax(growth))]


def _stages(model: QuantModel) -> Iterator[tuple[str, str]]:
    """The residual stream's tensors, and what was added to it last."""
    added = ""
    for name, block in model.named():
        if isinstance(block, PatchEmbedding):
            yield name, name
        if Part.UPDATE in block.makes:
            added = name
        if isinstance(block, Residual):
            yield name, added


def _bounds(model: QuantModel) -> dict[str, tuple[int, int]]:
    """Least and largest value of each tensor whose reaching them means that something was cut off."""
    eight, wide = (-128, 127), (-32768, 32767)
    found = {"output": wide} | ({} if model.input.part == Part.PATCHES else {"input": model.input.limits})
    for name, block in model.named():
        match block:
            case PatchEmbedding() | Residual():
                found[name] = wide
            case Norm():
                found |= {name: eight, f"{name}.residual": wide}
            case Attention():
                found |= {beside(name, tensor): eight for tensor in "qkvo"}
            case FeedForward():  # 0 is where GELU and ReLU end
                found[beside(name, "hidden")] = (-1, 255) if block.activation.unsigned else eight
    return found
