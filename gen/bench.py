# SPDX-License-Identifier: Apache-2.0
"""The standard workloads, measured in the fast simulator: cycles against the bars and against the cycle model."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.cycles.predict import predict, predict_interval, useful_macs, utilisation
from gen.demo import digits_model
from gen.emit.verilog import TOP, emit_core
from gen.errors import InputError
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from gen.program.image import Image
from gen.simulate.run import steady_interval
from gen.simulate.session import Session
from hw.config import CoreConfig, preset
from sim import reference
from sim.fast import Progress
from sim.qmodel import QuantModel

__all__ = ["MODEL_TOLERANCE", "WORKLOADS", "Measurement", "Workload", "measure", "table", "update_document"]

MODEL_TOLERANCE = 0.02
"""How far the cycle model may be from the measurement."""
_STREAMED = 6  # inputs of a stream


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model on a preset. ``shape``: of :func:`gen.model.randommodel.random_model`; None is the bundled digits model.

    ``bars``: least utilisation by mode.
    """

    name: str
    preset: str
    shape: dict | None
    bars: dict[str, float] = field(default_factory=dict)

    @property
    def config(self) -> CoreConfig:
        """The core it runs on."""
        return preset(self.preset)

    @property
    def title(self) -> str:
        """Name and array."""
        return f"{self.name} on {self.config.array}"


_ATTENTION = {"layers": 0, "hidden": 64, "heads": 1, "tokens": 64}
WORKLOADS = (
    Workload(name="attention-s64-e64-h1", preset="bench", shape=_ATTENTION, bars={"single": 0.97}),
    Workload(name="attention-s64-e64-h1", preset="large", shape=_ATTENTION, bars={"single": 0.90}),
    Workload(
        name="encoder-s64-e128-h4-f512",
        preset="bench",
        shape={"layers": 1, "hidden": 128, "heads": 4, "ffn": 512, "tokens": 64},
        bars={"single": 0.95},
    ),
    Workload(
        name="encoder-s128-e384-h12-f1536",
        preset="bench",
        shape={"layers": 1, "hidden": 384, "heads": 12, "ffn": 1536, "tokens": 128},
        bars={"single": 0.97},
    ),
    Workload(name="digits", preset="edge", shape=None, bars={"single": 0.65, "stream": 0.75}),
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One workload in one mode. ``cycles`` is measured on the Verilog, ``predicted_cycles`` from the cycle model."""

    workload: str
    array: str
    mode: str
    cycles: int
    macs: int
    utilisation: float
    predicted_cycles: int
    bar: float | None
    bit_exact: bool
    simulated_cycles_per_second: int

    @property
    def failures(self) -> list[str]:
        """What does not hold, a phrase each."""
        where = f"{self.workload} on {self.array}, {self.mode}"
        failed = []
        if not self.bit_exact:
            failed.append(f"{where}: results differ from the golden model")
        if self.bar is not None and self.utilisation < self.bar:
            failed.append(f"{where}: utilisation {self.utilisation:.2%} is below {self.bar:.0%}")
        if abs(self.predicted_cycles - self.cycles) > MODEL_TOLERANCE * self.cycles:
            failed.append(f"{where}: predicted {self.predicted_cycles} cycles, measured {self.cycles}")
        return failed

    def as_dict(self) -> dict:
        """For build/bench.json."""
        return asdict(self)


def prepare(workload: Workload) -> tuple[QuantModel, Image, list[npt.NDArray]]:
    """The workload's model, compiled, and inputs for a stream."""
    if workload.shape is None:
        digits = digits_model(_STREAMED)
        return digits.model, digits.image, digits.rows
    config = workload.config
    model = random_model(exp=config.exp, gelu=config.gelu, **workload.shape)
    rows = [random_rows(model, model.max_tokens, seed) for seed in range(_STREAMED)]
    return model, compile_model(model, config), rows


def measure(
    workload: Workload,
    *,
    progress: Callable[[Progress], None] | None = None,
    building: Callable[[str], None] | None = None,
) -> list[Measurement]:
    """Run a workload on the Verilog, one input alone and then a stream, all results against the golden model."""
    model, image, rows = prepare(workload)
    tokens = len(rows[0])
    expected = [reference.forward(model, x)["output"] for x in rows]
    verilog = _core(image.config)
    with Session(image, verilog, top=TOP, progress=progress, building=building) as session:
        began, first = time.perf_counter(), session.sim.cycle
        result, timing = session.timed(rows[0])
        single_exact = bool(np.array_equal(result, expected[0]))
        results, left = session.stream(rows)
        stream_exact = all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))
        speed = round((session.sim.cycle - first) / (time.perf_counter() - began))
    interval = round(steady_interval(left))
    macs = useful_macs(model, tokens)

    def entry(mode: str, cycles: int, foreseen: int, exact: bool) -> Measurement:
        return Measurement(
            workload=workload.name,
            array=image.config.array,
            mode=mode,
            cycles=cycles,
            macs=macs,
            utilisation=round(utilisation(macs, cycles, image.config), 5),
            predicted_cycles=foreseen,
            bar=workload.bars.get(mode),
            bit_exact=exact,
            simulated_cycles_per_second=speed,
        )

    return [
        entry("single", timing.single, predict(image, tokens).single, single_exact),
        entry("stream", interval, predict_interval(image, tokens), stream_exact),
    ]


@cache
def _core(config: CoreConfig) -> str:
    """Without contents: they come over the input stream, so that workloads of one core share a simulator."""
    return emit_core(config)


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as a Markdown table."""
    lines = [
        "Cycles measured on the Verilog in the fast simulator; predicted: by the cycle model, `gen/cycles/predict.py`.",
        "",
        "| workload | array | mode | cycles | useful MACs | utilisation | bar | predicted | off by | bit-exact |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for m in measurements:
        off = m.predicted_cycles / m.cycles - 1
        bar = f"{m.bar:.0%}" if m.bar is not None else ""
        lines.append(
            f"| {m.workload} | {m.array} | {m.mode} | {m.cycles} | {m.macs} | {m.utilisation:.1%} | {bar} | "
            f"{m.predicted_cycles} | {off:+.2%} | {'yes' if m.bit_exact else 'NO'} |"
        )
    return "\n".join(lines)


def update_document(path: Path, section: str, text: str) -> str:
    """The document at ``path`` with ``text`` between the markers of ``section``, appended where it has none."""
    begin, end = f"<!-- {section}: begin, written by rtlformer bench -->", f"<!-- {section}: end -->"
    document = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    block = f"{begin}\n\n{text}\n\n{end}"
    if begin not in document:
        return f"{document.rstrip()}\n\n{block}\n"
    if end not in document.split(begin, 1)[1]:
        raise InputError(f"{path}: has the marker that begins {section} but not the one that ends it; restore it")
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, document, count=1, flags=re.DOTALL)
