# SPDX-License-Identifier: Apache-2.0
"""The generated Verilog equals the golden model, tensor by tensor, over the configuration sweep."""

from itertools import combinations, groupby, product

import pytest

from gen.emit.verilog import TOP, emit_core
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from gen.program.tensors import differences
from gen.simulate.session import Session
from sim.reference import forward
from tests.sweep import FACTORS, core_of, covering_cases, pairs

CASES = covering_cases()
CORES = {
    key: list(cases)
    for key, cases in groupby(
        sorted(CASES, key=lambda c: (c["array"], c["exp"], c["gelu"])), key=lambda c: (c["array"], c["exp"], c["gelu"])
    )
}


def test_every_pair_of_values_appears_together():
    covered = set().union(*(pairs(case) for case in CASES))
    for (a, xs), (b, ys) in combinations(FACTORS.items(), 2):
        for x, y in product(xs, ys):
            assert ((a, x), (b, y)) in covered


@pytest.mark.slow
@pytest.mark.parametrize("key", CORES, ids="-".join)
def test_core_equals_golden(key):
    """All cases of one core, loaded one after the other at run time; each at its length, and shorter under stalls."""
    cases = CORES[key]
    config = core_of(cases[0])
    verilog = emit_core(config)
    for number, case in enumerate(cases):
        shape = {name: case[name] for name in ("heads", "head_dim", "hidden", "norm", "layers", "exp", "gelu")}
        classes = 7 if case["head"] == "classifier" else None
        model = random_model(**shape, ffn=2 * case["hidden"] - 4, tokens=50, classes=classes, seed=number)
        image = compile_model(model, config)
        with Session(image, verilog, top=TOP, trace=True) as session:
            for length, stall in ((case["tokens"], 0.0), (case["tokens"] // 2 + 1, 0.4)):
                x = random_rows(model, length, seed=number)
                expected = forward(model, x)
                session.sim.stall(inputs=stall, outputs=stall, seed=number)
                result = session.run(x)
                assert not differences(session.tensors(length), expected), (case, length)
                assert (result == expected["output"]).all(), (case, length)
