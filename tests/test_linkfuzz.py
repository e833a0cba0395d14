# SPDX-License-Identifier: Apache-2.0
"""Hosts that send the board anything at all in valid frames: whatever they leave behind, nobody gets a wrong result."""

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from gen.cli.common import fitted
from gen.emit.verilog import model_hash
from gen.link.connection import Connection
from gen.link.device import Device
from gen.link.errors import LinkError
from gen.link.simulated import TOP
from gen.model.randommodel import random_model, random_rows
from gen.program.compiler import compile_model
from hw.config import CoreConfig
from hw.host.registers import REGISTERS, register
from hw.link.board import BoardCore
from hw.link.protocol import MAX_PAYLOAD
from hw.program.loads import PacketHeader, Target
from hw.verilog import to_verilog
from sim.board import SimulatedBoard
from sim.board.line import DirectLine
from sim.reference import forward
from tests.link_board import RATES

SEED = 31
BURSTS = 500
PACE = {"patience": 3e-4, "timeout": 9 * 3e-4}
"""Seconds of simulated time."""


@cache
def model():
    """Small, so that loading it anew takes little: most bursts make that necessary."""
    return random_model(hidden=4, heads=1, ffn=4, tokens=4, classes=3, pixels=4, gelu="ibert")


@cache
def image():
    return compile_model(model(), fitted(model(), CoreConfig(rows=2, cols=2, depth=4, gelu="ibert")))


def header(target: int, *, address: int, count: int, is_input: bool = False) -> int:
    offsets = {name: field.offset for name, field in PacketHeader.as_shape()}
    values = {"target": target, "input": is_input, "address": address, "count": count}
    return sum(value << offsets[name] for name, value in values.items())


class Attacker:
    """One host after another, each with a burst of requests that the link takes for good."""

    def __init__(self, board: SimulatedBoard, seed: int):
        self.board, self.draw, self.kinds = board, random.Random(seed), Counter()

    def burst(self) -> None:
        """One host, which ends when it is done or refused; half of its words may still be on their way."""
        link = Connection(DirectLine(self.board), name="attacker", baud=RATES["baud"], **PACE)
        draw = self.draw
        try:
            link.open()
            for _ in range(draw.randint(1, 5)):
                kind = draw.choice(("registers", "hash", "memory", "image", "input", "words", "pull"))
                self.kinds[kind] += 1
                getattr(self, f"_{kind}")(link)
        except LinkError:
            self.kinds["refused"] += 1
        self.board.run(draw.choice((1, 100, 5000)))
        if draw.random() < 0.05:
            self.board.reset()

    def _push(self, link: Connection, words: list[int]) -> None:
        data = np.array(words, np.uint64).astype("<u8").tobytes()
        for first in range(0, len(data), MAX_PAYLOAD):
            link.push(data[first : first + MAX_PAYLOAD])

    def _registers(self, link: Connection) -> None:
        draw = self.draw
        writes = []
        for _ in range(draw.randint(1, 8)):
            number = draw.choice((draw.randrange(256), draw.randrange(len(REGISTERS))))
            writes.append((number, draw.getrandbits(draw.choice((1, 3, 16, 32)))))
        link.write(*writes)

    def _hash(self, link: Connection) -> None:
        """It says that the model is there."""
        low, value = register("MODEL_HASH_LO").index, model_hash(image().memories)
        link.write((low, value & 0xFFFFFFFF), (low + 1, value >> 32))

    def _memory(self, link: Connection) -> None:
        draw = self.draw
        address = draw.choice((0, draw.randrange(64), draw.randrange(4096), 1 << draw.randrange(24), (1 << 24) - 1))
        count = draw.choice((0, 1, 1, draw.randint(1, 100)))
        sent = count if draw.random() < 0.8 else draw.randint(0, count + 3)
        word = header(draw.choice((draw.randrange(16), draw.choice(list(Target)).value)), address=address, count=count)
        if draw.random() < 0.1:
            word |= 1 << draw.randrange(64)
        self._push(link, [word, *(draw.choice((0, draw.getrandbits(64), (1 << 64) - 1)) for _ in range(sent))])

    def _image(self, link: Connection) -> None:
        """One of the model's own packets, with a bit wrong, cut short, or as it is."""
        words = [int(word) for word in self.draw.choice(image().load_packets())][:120]
        if self.draw.random() < 0.6:
            words[self.draw.randrange(len(words))] ^= 1 << self.draw.randrange(64)
        self._push(link, words)

    def _input(self, link: Connection) -> None:
        """An input, right or nearly so, and passes for it."""
        draw = self.draw
        tokens = draw.randint(1, model().max_tokens)
        words = [int(word) for word in image().input_packet(random_rows(model(), tokens, draw.getrandbits(16)))]
        match draw.randrange(4):
            case 0:
                words[0] ^= 1 << draw.randrange(64)
            case 1:
                del words[draw.randrange(len(words)) :]
            case 2:
                words += [draw.getrandbits(64)] * draw.randint(1, 3)
        length = draw.choice((tokens, draw.randint(0, model().max_tokens + 1)))
        requests = [(register("SEQ_LEN").index, length), (register("PASSES").index, draw.randint(0, 2))]
        if draw.random() < 0.5:
            link.write(*requests)
        self._push(link, words)
        link.write(*requests)

    def _words(self, link: Connection) -> None:
        self._push(link, [self.draw.getrandbits(64) for _ in range(self.draw.randint(1, 20))])

    def _pull(self, link: Connection) -> None:
        link.pull(self.draw.randrange(20))


@pytest.mark.slow
def test_no_burst_of_valid_frames_makes_a_result_wrong():
    """After each, the ordinary driver's result is the golden model's, or it says by name what is wrong; then the next
    host's is right."""
    config, memories = image().config, image().memories
    board_verilog = to_verilog(
        BoardCore(config, {t: list(w) for t, w in memories.items()}, model_hash=model_hash(memories), **RATES), name=TOP
    )
    inputs = [random_rows(model(), 1 + number % model().max_tokens, seed=number) for number in range(16)]
    golden = [forward(model(), x)["output"].tolist() for x in inputs]
    loaded = named = 0
    with SimulatedBoard(board_verilog, top=TOP, **RATES) as board:
        attacker = Attacker(board, SEED)
        for burst in range(BURSTS):
            attacker.burst()
            which = burst % len(inputs)
            for last in (False, True):
                try:
                    with Device(DirectLine(board), stall=0.02, **PACE) as device:
                        loaded += device.load(image())
                        result = device.run(inputs[which]).tolist()
                    assert result == golden[which], f"burst {burst}, {attacker.kinds}"
                    break
                except LinkError as error:
                    assert not last, f"burst {burst}: {error}"
                    named += 1
    assert BURSTS // 4 < loaded < BURSTS and named < BURSTS // 10
    assert min(attacker.kinds[kind] for kind in ("registers", "hash", "memory", "image", "input", "words")) > 100
