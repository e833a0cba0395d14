# SPDX-License-Identifier: Apache-2.0
"""The core at its pins: load packets and inputs in, results out, under random stalls on both streams."""

import cocotb
import numpy as np

from sim.tb import parameters, rng, start, tick


async def _send(dut, words, stall, random):
    for word in words:
        while random.random() < stall:
            await tick(dut)
        dut.s_axis_tdata.value = int(word)
        dut.s_axis_tvalid.value = 1
        while True:
            await tick(dut)
            if dut.s_axis_tready.value:
                break
        dut.s_axis_tvalid.value = 0


async def _receive(dut, count, stall, random):
    """``count`` words and their tlast; also checks that a refused word stays as it is."""
    words, refused = [], None
    while len(words) < count:
        ready = random.random() >= stall
        dut.m_axis_tready.value = ready
        await tick(dut)
        offered = None
        if dut.m_axis_tvalid.value:
            offered = int(dut.m_axis_tdata.value), int(dut.m_axis_tlast.value)
        if refused is not None:
            assert offered == refused, "a word that was not taken must stay"
        refused = offered if not ready else None
        if ready and offered is not None:
            words.append(offered)
    dut.m_axis_tready.value = 0
    return words


@cocotb.test()
async def results_leave_whole(dut):
    """Sends ``model`` and ``inputs`` of the file ``work``; writes the result words, a row a frame, to ``results``."""
    work = np.load(parameters()["work"])
    stall, random = parameters()["stall"], rng()
    await start(dut, limit=2_000_000)
    dut.seq_len.value = int(work["tokens"])
    await _send(dut, work["model"], 0.0, random)
    dut.run.value = 1
    cocotb.start_soon(_send(dut, work["inputs"], stall, random))
    results = []
    for _ in range(int(work["frames"])):
        words = await _receive(dut, int(work["words"]), stall, random)
        assert [last for _, last in words] == [0] * (len(words) - 1) + [1], "tlast marks the last word alone"
        results.append([data for data, _ in words])
    dut.run.value = 0
    await tick(dut, 4)
    assert int(dut.frames_done.value) == len(results)
    np.save(parameters()["results"], np.array(results, dtype=np.uint64))
