# SPDX-License-Identifier: Apache-2.0
"""Inputs through a generated accelerator's Verilog: results, cycles, engine activity, comparison with golden."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.emit.manifest import Design
from gen.errors import InputError
from gen.model.checkpoint import read_checkpoint, shortened
from gen.model.inputs import Tokens
from gen.model.quantize import integer_inputs
from gen.program.tensors import differences
from gen.simulate.activity import Timeline
from gen.simulate.session import Session
from sim import reference
from sim.fast import Progress
from sim.golden import IntArray
from sim.qmodel import QuantModel

__all__ = ["Outcome", "compare_tensors", "model_inputs", "simulate", "steady_interval"]

_STEADY = 4  # results of a stream from which on its interval is reported


@dataclass(kw_only=True)
class Outcome:
    """What a simulation showed. Cycles are measured on the Verilog."""

    outputs: list[IntArray] = field(default_factory=list)
    single_cycles: int = 0
    """The first input alone, from start to its last result in the output buffer."""
    interval_cycles: float | None = None
    """Between results in a stream of inputs of one length, once it is steady."""
    timeline: Timeline | None = None
    """Of the first input."""
    tensors: int = 0
    """Tensors compared with the golden model."""
    differences: list[tuple[int, str, str]] = field(default_factory=list)
    """Input number, tensor, and what differs."""
    cycles: int = 0
    """Of the whole simulation."""


def model_inputs(
    design: Design,
    data: npt.NDArray | Sequence[npt.NDArray] | Sequence[Tokens],
    checkpoint: Path | None,
    name: str = "input",
) -> list:
    """Rows [tokens, features] of integers, one array an input, from what a file held.

    With ``checkpoint`` (the folder the model was quantised from) the file holds that model's own inputs: images, token
    ids or float rows. Without, it holds integer rows already: [tokens, features] or [inputs, tokens, features].
    ``name`` stands for the data in messages.

    Raises
    ------
    InputError
        If they do not fit the model.
    """
    if checkpoint is not None:
        source = read_checkpoint(checkpoint)
        if source.source != design.model.source:
            raise InputError(
                f"{checkpoint}: its configuration and tensors ({source.name}, SHA-256 {source.source[:16]}...) are not "
                f"those that model {design.model.name} was quantised from ({design.model.source[:16] or 'none'}...); "
                "give these, or quantise and generate again"
            )
        return integer_inputs(shortened(source, design.model.max_tokens), design.model, data, name)
    if any(isinstance(sample, Tokens) for sample in data):
        raise InputError(f"{name}: holds token ids, which take the checkpoint's tables; give --checkpoint too")
    rows = [np.asarray(x) for x in ([data] if isinstance(data, np.ndarray) and data.ndim == 2 else data)]
    if not rows:
        raise InputError(f"{name}: holds no sample; give at least one")
    features = design.image.input.form.features
    if rows[0].ndim != 2 or rows[0].shape[1] != features:
        raise InputError(
            f"{name}: must be integer rows [inputs, tokens, {features}], not {rows[0].dtype} "
            f"of shape {list(rows[0].shape)} each; for images or token ids give --checkpoint too"
        )
    for number, x in enumerate(rows):
        design.image.input_packet(x, f"{name}: sample {number}")  # refuses what does not fit, before anything is built
    return rows


def simulate(
    design: Design,
    inputs: Sequence[npt.NDArray],
    *,
    compare: bool = False,
    waves: Path | None = None,
    progress: Callable[[Progress, int], None] | None = None,
    building: Callable[[str], None] | None = None,
) -> Outcome:
    """Run ``inputs`` (as :func:`model_inputs` gives them) through the design's Verilog in the fast simulator.

    ``compare``: every intermediate tensor of every input against :func:`sim.reference.forward`; else only outputs are
    looked at, and inputs are sent back to back. ``progress`` is told the simulator's state and the results so far.
    """
    outcome = Outcome()

    def tell(state: Progress) -> None:
        if progress:
            progress(state, len(outcome.outputs))

    with Session(
        design.image,
        design.verilog,
        top=design.manifest["top"],
        load=False,
        trace=compare,
        waves=waves,
        progress=tell,
        building=building,
    ) as session:
        start = session.sim.cycle
        first, timing = session.timed(inputs[0])
        outcome.single_cycles = timing.single
        outcome.timeline = Timeline.measured(*session.sim.timeline(), start=start, end=session.sim.cycle)
        outcome.outputs.append(first)
        if compare:
            compare_tensors(session, design.model, inputs[0], 0, outcome)
            for number, x in enumerate(inputs[1:], 1):
                outcome.outputs.append(session.run(x))
                compare_tensors(session, design.model, x, number, outcome)
        else:
            for _, same in groupby(inputs[1:], key=len):
                _stream(session, list(same), outcome)
        outcome.cycles = session.sim.cycle
    return outcome


def steady_interval(left: npt.NDArray[np.int64]) -> float:
    """Cycles between results of a steady stream, from those at which each left: the median but for the first."""
    return float(np.median(np.diff(left)[1:]))


def _stream(session: Session, inputs: list[npt.NDArray], outcome: Outcome) -> None:
    results, cycles = session.stream(inputs)
    outcome.outputs.extend(results)
    if outcome.interval_cycles is None and len(cycles) >= _STEADY:
        outcome.interval_cycles = steady_interval(cycles)


def compare_tensors(session: Session, model: QuantModel, x: npt.NDArray, number: int, outcome: Outcome) -> None:
    """Every tensor of the pass just run, against the golden model's; adds what differs to ``outcome``."""
    found = session.tensors(len(x))
    outcome.tensors += len(found)
    wrong = differences(found, reference.forward(model, x))
    outcome.differences.extend((number, name, what) for name, what in wrong.items())
