# SPDX-License-Identifier: Apache-2.0
"""A core that is told wrong things names them, and gives right results afterwards without being loaded again."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from gen.cli.common import fitted
from gen.emit.verilog import TOP, emit_core, emit_wrapper, model_hash
from gen.model.randommodel import random_model
from gen.program.compiler import compile_model
from hw.config import preset
from hw.wrappers import WRAPPERS
from sim.fast import FastSim
from sim.reference import forward
from sim.runner import run_cocotb
from tests.corefuzz import BARE, HOSTED, cases

MODELS = {
    "patches": {"classes": 3, "pixels": 4},
    "rows": {"norm": "post"},
}


def small(kind: str, array: str):
    """A model for fewer tokens than its core, compiled."""
    model = random_model(hidden=8, heads=2, ffn=16, tokens=6, **MODELS[kind])
    config = fitted(model, preset(array))
    return model, compile_model(model, replace(config, max_tokens=8))


class Bare:
    """The steps of a case on a core at its pins."""

    def __init__(self, sim: FastSim, image):
        self.sim, self.image, self.length = sim, image, 0

    def send(self, words) -> None:
        self.sim.push(np.array(words, np.uint64))  # a wrong input waits until a pass is there to refuse it

    def length_(self, tokens: int) -> None:
        self.length = tokens
        self.sim.set(seq_len=tokens)
        self.sim.step(2)

    def start(self) -> None:
        self.sim.set(run=1)
        self.sim.step(1)
        self.sim.set(run=0)
        self.sim.step(1)

    def reset(self) -> None:
        length = self.length
        self.sim.reset()
        self.length_(length)

    def result(self, tokens: int) -> np.ndarray:
        found = self.sim.collect(self.image.output_words(tokens), limit=100_000)
        assert found.last.tolist() == [False] * (len(found.last) - 1) + [True]
        return self.image.decode_output(found.data, tokens)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "array", "count"), [("patches", "tiny", 500), ("rows", "edge", 300)])
def test_bare_core(kind, array, count):
    model, image = small(kind, array)
    core, expected = Bare(FastSim(emit_core(image.config, image.memories), top=TOP), image), {}
    found, inputs = cases(image, model, count, seed=count, kinds=BARE)
    errors = 0

    def golden(number: int):
        if number not in expected:
            expected[number] = forward(model, inputs[number])["output"]
        return expected[number]

    with core.sim as sim:
        for number, case in enumerate(found):
            where = f"case {number}: {case.kind} {[step[0] for step in case.steps]}"
            for name, *values in case.steps:
                if name == "result":
                    assert (core.result(len(inputs[values[0]])) == golden(values[0])).all(), where
                    sim.step(64)
                elif name == "wait":
                    sim.step(values[0])
                elif name == "length":
                    core.length_(*values)
                else:
                    getattr(core, name)(*values)
                errors = 0 if name == "reset" else errors
            if not case.started:
                sim.step(64)
                core.length_(case.tokens)
                core.start()
            core.send(case.packet)
            assert (core.result(case.tokens) == golden(case.number)).all(), where
            sim.step(64)
            errors |= case.errors
            assert sim.errors == errors, f"{where}: errors {sim.errors:04b}, not {errors:04b}"
            assert not sim.unread and sim.busy == 0, where
            if number % 40 == 39:
                core.reset()
                errors = 0
                assert sim.errors == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRAPPERS)
def test_ip_top(kind, tmp_path):
    model, image = small("patches", "tiny")
    found, inputs = cases(image, model, 120, seed=7, kinds=HOSTED)
    loaded = model_hash(image.memories)
    work, results = tmp_path / "cases.json", tmp_path / "results.json"
    words = [image.output_words(len(x)) for x in inputs]
    halves = [loaded & 0xFFFFFFFF, loaded >> 32]
    work.write_text(json.dumps({"cases": [asdict(case) for case in found], "words": words, "model_hash": halves}))
    run_cocotb(
        emit_core(image.config, image.memories) + emit_wrapper(image.config, kind, model_hash=loaded),
        f"sim.tb.tb_{kind}",
        top=WRAPPERS[kind].TOP,
        testcase="wrong_things",
        cases=str(work),
        results=str(results),
    )
    numbers = []
    for case in found:
        numbers += [step[1] for step in case.steps if step[0] == "result"] + [case.number]
    got = json.loads(results.read_text())
    assert len(got) == len(numbers) > 120
    for number, result in zip(numbers, got, strict=True):
        x = inputs[number]
        assert (image.decode_output(result, len(x)) == forward(model, x)["output"]).all()
