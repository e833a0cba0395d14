# SPDX-License-Identifier: Apache-2.0
"""Verilog driven and read pin by pin: a value for every input in every cycle goes in, those of all outputs come out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sim import verilate

__all__ = ["play"]

Values = npt.NDArray[np.object_]

_HARNESS = """
#include <cstdio>
#include <memory>
#include "Vtop.h"
double sc_time_stamp() { return 0; }
int main() {
    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vtop>(context.get());
    uint32_t in[IN], out[OUT];
    while (std::fread(in, 4, IN, stdin) == IN) {
        for (int i = 0; i < IN; ++i) top->pins[i] = in[i];
        top->clk = 0;
        top->eval();
        for (int i = 0; i < OUT; ++i) out[i] = top->outs[i];
        std::fwrite(out, 4, OUT, stdout);
        top->clk = 1;
        top->eval();
    }
}
"""


def play(verilog: str, top: str, inputs: Mapping[str, Values]) -> dict[str, Values]:
    """What each output of ``top`` shows in each cycle, before its clock edge, for ``inputs`` [cycles] of integers.

    The input ``clk`` is the clock; every other one must be given.
    """
    declared = re.findall(
        r"^\s*(input|output)\s+(?:reg |wire )?(?:signed )?(?:\[(\d+):0\]\s*)?(\w+)\s*;",
        verilate.module_text(verilog, top),
        re.MULTILINE,
    )
    ports = {name: (way, int(high) + 1 if high else 1) for way, high, name in declared if name != "clk"}
    places, width = {}, {"input": 0, "output": 0}
    for name, (way, bits) in ports.items():
        places[name] = width[way], bits
        width[way] += bits
    words = {way: max(3, -(-bits // 32)) for way, bits in width.items()}  # more than 64 bits: an array in C++
    binds = ", ".join(
        f".{name}({'pins' if ports[name][0] == 'input' else 'outs'}[{start}+:{bits}])"
        for name, (start, bits) in places.items()
    )
    bench = (
        f"module bench (clk, pins, outs);\n  input clk;\n  input [{32 * words['input'] - 1}:0] pins;\n"
        f"  output [{32 * words['output'] - 1}:0] outs;\n  {top} dut (.clk(clk), {binds});\nendmodule\n"
    )
    program = verilate.build(
        verilog + bench, top="bench", harness=f"enum {{ IN = {words['input']}, OUT = {words['output']} }};{_HARNESS}"
    )
    rows = [0] * len(next(iter(inputs.values())))
    for name, (start, bits) in places.items():
        if ports[name][0] == "input":
            rows = [
                row | (int(value) & ((1 << bits) - 1)) << start for row, value in zip(rows, inputs[name], strict=True)
            ]
    data = b"".join(row.to_bytes(4 * words["input"], "little") for row in rows)
    found = subprocess.run([program], input=data, capture_output=True, check=True).stdout
    size = 4 * words["output"]
    whole = [int.from_bytes(found[i : i + size], "little") for i in range(0, len(found), size)]
    assert len(whole) == len(rows)
    return {
        name: np.array([value >> start & ((1 << bits) - 1) for value in whole], dtype=object)
        for name, (start, bits) in places.items()
        if ports[name][0] == "output"
    }
