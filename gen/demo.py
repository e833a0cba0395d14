# SPDX-License-Identifier: Apache-2.0
"""The bundled digits model, end to end: checkpoint to Verilog, and real test images through that Verilog."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from gen.atomic import output_folder
from gen.cycles.predict import predict, useful_macs, utilisation
from gen.emit.manifest import write_design
from gen.emit.verilog import TOP, emit_core
from gen.errors import InputError
from gen.model.accuracy import output_error
from gen.model.checkpoint import read_checkpoint
from gen.model.floatmodel import forward
from gen.model.quantize import integer_inputs, quantise
from gen.program.compiler import compile_model
from gen.program.image import Image
from gen.program.tensors import differences
from gen.simulate.run import steady_interval
from gen.simulate.session import Session
from hw.config import preset
from sim import reference
from sim.fast import Progress
from sim.qmodel import QuantModel

__all__ = ["DIGITS", "Demo", "Digits", "digits_model", "drawing", "run_demo"]

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
PRESET = "edge"
COMPARED = 3  # images whose every tensor is compared

Step = Callable[[str], AbstractContextManager]


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits:
    """The quantised model with its test set: images, labels, rows for the accelerator."""

    model: QuantModel
    image: Image
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    rows: list[npt.NDArray]
    float_logits: npt.NDArray[np.floating]


@dataclass(kw_only=True)
class Demo:
    """What the demo measured; ``seconds`` by step."""

    images: int = 0
    predicted: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    float_accuracy: float = 0.0
    accuracy: float = 0.0
    logits_equal: int = 0
    """Images whose every logit equals the golden model's."""
    tensors: int = 0
    differences: list[str] = field(default_factory=list)
    logit_error: float | None = None
    """RMS of integer minus float logits over the float logits' standard deviation."""
    single_cycles: int = 0
    interval_cycles: float = 0.0
    predicted_cycles: int = 0
    utilisation_single: float = 0.0
    utilisation_stream: float = 0.0
    simulated_cycles: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the Verilog and the golden model agree in everything that was compared."""
        return self.logits_equal == self.images and not self.differences


def digits_model(count: int | None = None) -> Digits:
    """Quantise and compile the bundled model; its first ``count`` test images (all unless given).

    Raises
    ------
    InputError
        If the example is not there.
    """
    if not (DIGITS / "checkpoint").is_dir():
        raise InputError(f"{DIGITS}: the bundled example is missing; use a whole clone of the repository")
    checkpoint = read_checkpoint(DIGITS / "checkpoint")
    model = quantise(checkpoint, np.load(DIGITS / "calibration.npy"))
    images, labels = np.load(DIGITS / "test_images.npy")[:count], np.load(DIGITS / "test_labels.npy")[:count]
    return Digits(
        model=model,
        image=compile_model(model, preset(PRESET)),
        images=images,
        labels=labels,
        rows=integer_inputs(checkpoint, model, images),
        float_logits=np.asarray(forward(checkpoint, images)),
    )


def run_demo(
    folder: Path,
    *,
    count: int | None = None,
    step: Step,
    progress: Callable[[Progress, int], None] | None = None,
    building: Callable[[str], None] | None = None,
) -> tuple[Demo, Digits]:
    """Everything from the checkpoint on; the accelerator stays in ``folder``. ``step(name)`` surrounds each step."""
    demo = Demo()

    class Timed:
        def __init__(self, name: str):
            self.name, self.inner = name, step(name)

        def __enter__(self) -> None:
            self.start = time.perf_counter()
            self.inner.__enter__()

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            self.inner.__exit__(kind, error, traceback)
            demo.seconds[self.name] = round(time.perf_counter() - self.start, 2)

    with Timed("quantise the checkpoint and compile its program"):
        digits = digits_model(count)
    with Timed("emit Verilog"):
        verilog = emit_core(digits.image.config, digits.image.memories)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with output_folder(folder, force=True) as work:
            write_design(work, digits.model, digits.image, verilog)
    with Timed("build the simulator"):
        session = Session(digits.image, verilog, top=TOP, load=False, trace=True, building=building)
        session.close()
    with Timed(f"simulate {len(digits.rows)} images"):
        _simulate(demo, digits, verilog, progress)
    return demo, digits


def _simulate(demo: Demo, digits: Digits, verilog: str, progress: Callable[[Progress, int], None] | None) -> None:
    model, image, rows = digits.model, digits.image, digits.rows
    logits: list[npt.NDArray] = []

    def tell(state: Progress) -> None:
        if progress:
            progress(state, state.frames_done)

    with Session(image, verilog, top=TOP, load=False, trace=True, progress=tell) as session:
        for number, x in enumerate(rows[:COMPARED]):
            result, timing = session.timed(x)
            logits.append(result)
            found = session.tensors(len(x))
            demo.tensors += len(found)
            wrong = differences(found, reference.forward(model, x))
            demo.differences += [f"image {number}, {name}: {what}" for name, what in wrong.items()]
            if not number:
                demo.single_cycles = timing.single
        simulated = session.sim.cycle
    with Session(image, verilog, top=TOP, load=False, progress=tell) as session:
        results, cycles = session.stream(rows)
        logits = list(results)
        demo.simulated_cycles = simulated + session.sim.cycle
    demo.interval_cycles = steady_interval(cycles)
    golden = [reference.forward(model, x)["output"] for x in rows]
    demo.images = len(rows)
    demo.logits_equal = sum(bool((a == b).all()) for a, b in zip(logits, golden, strict=True))
    demo.predicted = [int(np.argmax(y)) for y in logits]
    demo.labels = digits.labels.tolist()
    demo.accuracy = float(np.mean(np.array(demo.predicted) == digits.labels))
    demo.float_accuracy = float(np.mean(digits.float_logits.argmax(1) == digits.labels))
    demo.logit_error = output_error(np.stack(logits) * model.scales["output"], digits.float_logits)
    tokens = len(rows[0])
    macs = useful_macs(model, tokens)
    demo.predicted_cycles = predict(image, tokens).single
    demo.utilisation_single = utilisation(macs, demo.single_cycles, image.config)
    demo.utilisation_stream = macs / (demo.interval_cycles * image.config.macs)


def drawing(images: npt.NDArray[np.uint8], captions: Sequence[str], *, unicode: bool = True) -> str:
    """Images [N, 1, H, W] of 0..16 side by side as text, each above its caption."""
    shades = " ░▒▓█" if unicode else " .:*#"
    width = 2 * images.shape[3] + 2
    lines = []
    for row in range(images.shape[2]):
        line = ""
        for image in images[:, 0]:
            line += "".join(shades[min(int(v) * 5 // 17, 4)] * 2 for v in image[row]).ljust(width)
        lines.append(line.rstrip())
    lines.append("".join(caption.ljust(width) for caption in captions).rstrip())
    return "\n".join(lines)
