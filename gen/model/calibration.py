# SPDX-License-Identifier: Apache-2.0
"""Ranges of every intermediate of the float model on calibration inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen.model.blocks import Checkpoint
from gen.model.floatmodel import forward
from gen.model.inputs import Samples

Float = npt.NDArray[np.floating]

PERCENTILE = 99.99
FAR_PERCENTILE = 99.999
"""GELU's argument needs more where two table banks spare the small channels, less where one int8 scale serves all.

Measured on all-MiniLM-L6-v2, mean cosine of sentence embeddings with float's: table kernel .9949 at 99.99, .9976 at
99.999, .9977 at the maximum (60 sentences); I-BERT kernels .9932 at 99.99, .9849 at 99.999 (150 sentences).
"""


ENOUGH_ROWS = 2048
"""Rows whose largest values stand for those of all inputs; with fewer, :func:`measure` looks beyond them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Range:
    """Where the values of one tensor lie, as far as that many rows tell."""

    rows: int
    peak: Float  # [channels] largest magnitude
    largest: float  # magnitude of all values
    high: Float  # [channels] largest value
    tail: Float  # [heads] 99.99 percentile of the magnitudes of each head's channels (one entry where not per head)
    lower: float  # 0.01 percentile of all values
    upper: float  # 99.99 percentile of all values
    far: float  # 99.999 percentile of all values


def stretch(rows: int, width: int = 1) -> float:
    """By how much the largest of ``width`` values of each of :data:`ENOUGH_ROWS` rows exceeds that of ``rows``.

    As of a normal distribution, whose largest of n is near ``sqrt(2 ln n)``.
    """
    seen, enough = max(rows * width, 2), max(ENOUGH_ROWS * width, 2)
    return math.sqrt(max(math.log(enough) / math.log(seen), 1.0))


def measure(value: Float, groups: int = 1) -> Range:
    """Range of ``value`` [rows, channels], whose channels form ``groups`` equal blocks; wider where rows are few."""
    rows, channels = value.shape
    split = np.abs(value).reshape(rows, groups, -1)
    lower, upper, far = np.percentile(value, [100 - PERCENTILE, PERCENTILE, FAR_PERCENTILE])
    channel, group, whole = stretch(rows), stretch(rows, channels // groups), stretch(rows, channels)
    peak, high = np.abs(value).max(0), value.max(0)
    return Range(
        rows=rows,
        peak=peak * channel,
        largest=float(peak.max()) * whole,
        high=np.maximum(high, high * channel),
        tail=np.percentile(split, PERCENTILE, axis=(0, 2)) * group,
        lower=min(lower, lower * whole),
        upper=max(upper, upper * whole),
        far=max(far, far * whole),
    )


def unseen(rows: int) -> float:
    """How little ``rows`` rows tell of single channels: 1 for one row, 0 from :data:`ENOUGH_ROWS` on."""
    return max(1 - math.log(rows) / math.log(ENOUGH_ROWS), 0.0)


PER_HEAD = frozenset("qkvo")
SKIPPED = frozenset(("scores", "probabilities"))


def calibrate(checkpoint: Checkpoint, inputs: Samples) -> dict[str, Range]:
    """Range of every intermediate that :func:`gen.model.floatmodel.forward` observes, by its name.

    Raises
    ------
    InputError
        If the inputs do not fit the model.
    """
    ranges: dict[str, Range] = {}

    def observe(name: str, value: Float) -> None:
        kind = name.rpartition(".")[2]
        if kind not in SKIPPED:
            ranges[name] = measure(value, checkpoint.heads if kind in PER_HEAD else 1)

    forward(checkpoint, inputs, observe)
    return ranges
