# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.drain.activation.ActivationUnit`."""

import cocotb
import numpy as np

from sim import golden
from sim.tb import parameters, rng, start, tick
from sim.tb.streams import pack, unpack

CORNERS = (-32768, -129, -128, -127, -1, 0, 1, 126, 127, 128, 254, 255, 256, 32767, 32768)


@cocotb.test()
async def equals_golden(dut):
    """With the initial contents, then with those loaded through the port, a beat every cycle."""
    params = parameters()
    contents = np.array(params["init"], dtype=np.uint64)
    await start(dut)
    await _check(dut, params, contents)
    contents = rng().permutation(contents)
    for address, word in enumerate(contents.tolist()):
        dut.w_en.value, dut.w_addr.value, dut.w_data.value = 1, address, word
        await tick(dut)
    dut.w_en.value = 0
    await _check(dut, params, contents)


async def _check(dut, params, contents) -> None:
    lanes, columns, tables, latency = (params[name] for name in ("lanes", "columns", "tables", "latency"))
    random, beats = rng(), max(600, 8 * 256 // lanes)
    values = random.integers(-300, 300, (beats, lanes))
    values[: len(CORNERS)] = np.array(CORNERS)[:, None]
    banks, table = random.integers(0, 2, (beats, columns)), random.integers(0, tables, beats)
    results = []
    words = list(zip(pack(values, 17), pack(banks, 1), table.tolist(), strict=True))
    for word in words + words[: latency + 1]:
        dut.value.value, dut.bank.value, dut.table_number.value = word
        await tick(dut)
        results.append(int(dut.result.value))
    found = unpack(results[latency:], 8, lanes, signed=params["gelu"] == "ibert")[:beats]
    lane_banks = np.repeat(banks, lanes // columns, axis=1)  # element column * rows + row
    expected = (_table if params["gelu"] == "table" else _polynomial)(values, lane_banks, table, contents)
    assert (found == expected).all()


def _table(values, banks, table, contents):
    index = golden.saturate(values, 8, signed=False)
    tables = contents.astype(np.int64).reshape(-1, 2, 256)
    return np.array([golden.activation_table(*beat) for beat in zip(index, banks, tables[table], strict=True)])


def _polynomial(values, banks, table, contents):
    def entry(low: int, bits: int):  # fields of hw.program.loads.GeluParameters
        return ((contents >> np.uint64(low)) & np.uint64((1 << bits) - 1)).astype(np.int64)[table, None]

    return golden.gelu_ibert(golden.saturate(values, 8), entry(0, 12), entry(12, 20), entry(32, 16), entry(48, 6))
