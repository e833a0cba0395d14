# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.drain.rowmax.RowMaximum`."""

import random

import cocotb
import numpy as np

from sim.tb import parameters, rng, start, tick
from sim.tb.streams import pack

LOWEST, HIGHEST = -(1 << 23), (1 << 23) - 1


@cocotb.test()
async def equals_the_maximum(dut):
    """Row blocks of random length, back to back and with gaps, each to a random slot: all maxima in every cycle."""
    rows, columns, slots, latency = (parameters()[name] for name in ("rows", "columns", "slots", "latency"))
    await start(dut, limit=50_000)
    beats, expected = [], []  # inputs of every cycle; (slot, maxima) where a block's last beat is in it
    while len(beats) < 2500:
        block, masks = _block(rows, columns)
        slot = random.randrange(slots)
        for number, (beat, mask) in enumerate(zip(block, masks, strict=True)):
            for _ in range(random.choice([0, 0, 0, 1, 4])):  # a gap, with everything but `valid` at random
                beats.append((0, *(random.getrandbits(n) for n in (1, 1)), *random.choice(beats or [(0,) * 6])[3:]))
                expected.append(None)
            last = number == len(block) - 1
            beats.append((1, number == 0, last, slot, _word(mask), pack(beat.reshape(1, -1), 24)[0]))
            maxima = np.where(masks[:, :, None], block, LOWEST).max(axis=(0, 1))
            expected.append((slot, pack(maxima[None], 24)[0]) if last else None)
    beats += [(0,) * 6] * (latency + 2)
    ports = (dut.valid, dut.first, dut.last, dut.slot, dut.mask, dut.score)
    ring: dict[int, int] = {}
    read = None
    for cycle, values in enumerate(beats):
        for port, value in zip(ports, values, strict=True):
            port.value = int(value)
        await tick(dut)
        due = expected[cycle - latency - 1] if 0 <= cycle - latency - 1 < len(expected) else None
        assert int(dut.done.value) == (due is not None)
        if due:
            ring[due[0]] = due[1]
        if read in ring:
            assert int(dut.row_max.value) == ring[read]
        read = random.randrange(slots)
        dut.read_slot.value = read
    assert len(ring) == slots


def _block(rows: int, columns: int):
    """Scores [beat][column][row] and masks [beat][column]; columns are masked at the end, or anywhere but the first."""
    draw, count = rng(), random.choice([1, 1, 2, 3, random.randint(1, 12)])
    scores = draw.integers(LOWEST, HIGHEST + 1, (count, columns, rows)) >> draw.choice([0, 0, 12, 22])
    corners = draw.choice([LOWEST, -1, 0, HIGHEST], scores.shape)
    scores = np.where(draw.random(scores.shape) < draw.choice([0.0, 0.2, 1.0]), corners, scores)
    keys = random.randint(1, count * columns)
    masks = (np.arange(count * columns) < keys).reshape(count, columns)
    if random.random() < 0.5:
        masks = draw.random(masks.shape) < 0.5
        masks[0, 0] = True
    return scores, masks


def _word(mask) -> int:
    return sum(1 << p for p, bit in enumerate(mask) if bit)
