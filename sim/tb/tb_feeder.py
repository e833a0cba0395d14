# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.array.feeder.Feeder`."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from hw import structs
from hw.array.feeder import FeedTag
from hw.program import isa
from hw.program.commands import ArrayCommand
from hw.program.isa import ADDRESS_BITS, ASource, BSource
from sim.tb import built, parameters, start, tick
from sim.tb.streams import StreamSource

TOP = (1 << ADDRESS_BITS) - 1


@cocotb.test()
async def addresses_and_tags(dut):
    """Every operand pair, in order, whatever the gaps between commands; the results never meet in the drain."""
    await _run(dut, count=80, stall=0.6)


@cocotb.test()
async def no_bubble(dut):
    """With commands always waiting, a tile takes max(k, tile_beats) cycles from its predecessor's end to its own."""
    beats = parameters()["tile_beats"]
    lasts, tiles = await _run(dut, count=80, stall=0.0)
    assert [b - a for a, b in zip(lasts, lasts[1:], strict=False)] == [max(k, beats) for k in tiles[1:]]


@cocotb.test()
async def first_address(dut):
    """One cycle after the command, less the words that a short tile lacks; ``busy`` from then to the last address."""
    beats = parameters()["tile_beats"]
    await start(dut)
    for k in (1, 2, beats, beats + 3):
        dut.command__payload.value = _bits(_command(n=1, k=k))
        dut.command__valid.value = 1
        await tick(dut)
        assert int(dut.command__ready.value) == 1
        dut.command__valid.value = 0
        cycles = max(k, beats)
        for cycle in range(1, cycles + 1):
            await tick(dut)
            tag = _tag(dut)
            assert tag["valid"] == (cycle > cycles - k), f"k = {k}: cycle {cycle}"
            assert tag["valid"] == 0 or tag["first"] == (cycle == cycles - k + 1)
            assert int(dut.busy.value) == 1
        await tick(dut)
        assert int(dut.busy.value) == 0 and _tag(dut)["valid"] == 0


async def _run(dut, *, count: int, stall: float):
    """Runs ``count`` random commands; returns the cycle of every tile's last words, and every tile's k."""
    slots, ring_words, beats = (parameters()[name] for name in ("slots", "ring_words", "tile_beats"))
    commands = [_command() for _ in range(count)]
    expected, contexts, tiles, slot = [], [], [], 0
    for c in commands:
        prob = c["a_source"] == ASource.PROB.value
        contexts.append(_bits(c | {"a": slot}))
        a = slot * ring_words if prob else c["a"]
        slot = (slot + prob) % slots
        for t in range(c["n"]):
            tiles.append(c["k"])
            for k in range(c["k"]):
                tag = {"valid": 1, "first": k == 0, "last": k == c["k"] - 1}
                tag |= {"first_tile": t == 0, "last_tile": t == c["n"] - 1}
                tag |= {"prob": prob, "kv": c["b_source"] == BSource.KV.value, "a_unsigned": c["a_unsigned"]}
                b = c["b"] + t * c["b_n"] + k * c["b_k"]
                expected.append((tag, (a + k) & TOP, b & TOP))
    await start(dut, limit=100_000)
    source = StreamSource(dut, "command", stall=stall)
    source.send(_bits(c) for c in commands)
    edge, cycle, lasts, accepted = RisingEdge(dut.clk), 0, [], 0
    while expected:
        await edge
        cycle += 1
        assert int(dut.context_valid.value) == (int(dut.command__valid.value) and int(dut.command__ready.value))
        tag = _tag(dut)
        if tag["valid"]:
            want, a, b = expected.pop(0)
            assert tag == want, f"{tag}, not {want}"
            assert (int(dut.a_addr.value), int(dut.b_addr.value)) == (a, b)
            assert accepted > 0 and int(dut.busy.value) == 1
            if tag["last"]:
                lasts.append(cycle)
                assert len(lasts) < 2 or cycle - lasts[-2] >= beats, "two tiles in the drain at once"
        if int(dut.context_valid.value):  # after the tag: a command's first words are fed in a later cycle
            assert int(dut.carried.value) == contexts[accepted]
            accepted += 1
    assert accepted == count
    for _ in range(3 * beats):
        await tick(dut)
        assert _tag(dut)["valid"] == 0
    assert int(dut.busy.value) == 0
    return lasts, tiles


def _command(**fields) -> dict:
    """A random ARRAY command of few tiles, often with fewer words than a tile has beats."""
    beats = parameters()["tile_beats"]
    command = {}
    for name, field in ArrayCommand.as_shape():
        command[name] = random.getrandbits(field.width)
    command |= {
        "result": random.choice(built(isa.Format)).value,
        "destination": random.choice(built(isa.Destination)).value,
        "a_source": random.choice(built(ASource)).value,
        "b_source": random.choice(built(BSource)).value,
        "n": random.choice([1, 1, 2, random.randint(1, 6)]),
        "k": random.choice([1, 2, max(1, beats - 1), beats, beats + 1, random.randint(1, 12)]),
        "a": random.choice([random.getrandbits(ADDRESS_BITS), TOP]),
    }
    return command | fields


def _bits(command: dict) -> int:
    return structs.pack(ArrayCommand, command)


def _tag(dut) -> dict[str, int]:
    word = int(dut.tag.value)
    return {name: word >> field.offset & 1 for name, field in FeedTag.as_shape()}
