# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.drain.kvwrite.KeyValueWriter` before the memory that it writes."""

import random

import cocotb
import numpy as np

from hw import structs
from hw.drain.beats import BeatControl, WriteStrobes
from hw.memory import READ_LATENCY
from hw.program.isa import Destination, Format
from sim.tb import built, parameters, rng, start, tick
from sim.tb.streams import pack, unpack


@cocotb.test()
async def bytes_in_their_places(dut):
    """Random beats of keys, of values and of what is neither; then every byte of the memory."""
    shape = parameters()
    rows, cols, depth, columns, words = (shape[name] for name in ("rows", "cols", "depth", "columns", "words"))
    memory = np.zeros((words, cols, depth), dtype=np.int64)
    await start(dut, limit=100_000)
    for _ in range(1500):
        beat = rng().integers(-128, 128, (columns, rows))
        destination, valid = random.choice(built(Destination)), random.random() < 0.8
        if destination == Destination.KEY:
            lane, out = random.randrange(depth // columns), random.randrange(words * cols // rows)
            word, sub = divmod(out, cols // rows)
            if valid:
                memory[word, sub * rows : (sub + 1) * rows, lane * columns : (lane + 1) * columns] = beat.T
        elif destination == Destination.VALUE:
            lane, out = random.randrange(cols // columns), random.randrange(words * depth // rows)
            word, sub = divmod(out, depth // rows)
            if valid:
                memory[word, lane * columns : (lane + 1) * columns, sub * rows : (sub + 1) * rows] = beat
        else:
            lane, out = random.getrandbits(6), random.getrandbits(20)
        control = {name: random.getrandbits(field.width) for name, field in BeatControl.as_shape()}
        control |= {"valid": valid, "destination": destination, "lane": lane, "out": out}
        control["result"] = random.choice([Format.INT8, Format.UINT8, Format.ACTIVATION])
        dut.control.value = structs.pack(BeatControl, control)
        to = valid and destination.name.lower()
        dut.to.value = structs.pack(WriteStrobes, {to: 1} if to else {})
        dut.beat.value = pack(beat.reshape(1, -1), 8)[0]
        await tick(dut)
    dut.to.value = 0
    await tick(dut)
    contents = []
    for address in [*range(words), *[0] * READ_LATENCY]:
        dut.r_addr.value = address
        await tick(dut)
        contents.append(int(dut.r_data.value))
    got = unpack(contents[READ_LATENCY:], 8, cols * depth).reshape(memory.shape)
    wrong = np.argwhere(got != memory)
    assert not len(wrong), f"{len(wrong)} bytes wrong, the first at [word, column, k] = {wrong[0].tolist()}"
