# SPDX-License-Identifier: SHL-2.1
"""Commands: what the sequencer makes of instructions for the engines that carry them out."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from .isa import (
    ADDRESS_BITS,
    BEAT_BITS,
    CHANNEL_BITS,
    DEPTH_BITS,
    EPS_BITS,
    SEMAPHORES,
    STEP_BITS,
    TILE_BITS,
    TOKEN_BITS,
    ASource,
    BSource,
    Destination,
    Format,
    Semaphore,
)

__all__ = ["COMMANDS", "ArrayCommand", "Engine", "Lengths", "NormCommand", "SEMAPHORES_OF", "SoftmaxCommand",
           "StoreCommand"]  # fmt: skip


class Engine(enum.Enum):
    """What carries out commands, each from a queue of its own."""

    ARRAY = 0  # feeder, array and drain
    SOFTMAX = 1
    NORM = 2
    STORE = 3


class Lengths(data.Struct):
    """What the engines need of the run-time sequence length."""

    tokens: unsigned(TOKEN_BITS)
    row_blocks: unsigned(TOKEN_BITS)
    key_tiles: unsigned(TOKEN_BITS)  # ceil(tokens / cols)
    key_words: unsigned(TOKEN_BITS)  # ceil(tokens / depth)


class ArrayCommand(data.Struct):
    """A resolved ARRAY instruction."""

    wait: unsigned(SEMAPHORES)
    signal: unsigned(SEMAPHORES)
    pending: unsigned(3)
    a_source: ASource
    a_unsigned: unsigned(1)
    b_source: BSource
    result: Format
    destination: Destination
    row_scale: unsigned(1)
    add: unsigned(1)
    table: unsigned(6)
    n: unsigned(TILE_BITS)
    k: unsigned(DEPTH_BITS)
    b_n: unsigned(14)
    b_k: unsigned(STEP_BITS)
    out_step: unsigned(STEP_BITS)
    a: unsigned(ADDRESS_BITS)
    b: unsigned(ADDRESS_BITS)
    out: unsigned(ADDRESS_BITS)
    res: unsigned(ADDRESS_BITS)
    chan: unsigned(ADDRESS_BITS)


class SoftmaxCommand(data.Struct):
    """A resolved SOFTMAX instruction."""

    wait: unsigned(SEMAPHORES)
    signal: unsigned(SEMAPHORES)
    head: unsigned(ADDRESS_BITS)


class NormCommand(data.Struct):
    """A resolved NORM instruction."""

    wait: unsigned(SEMAPHORES)
    signal: unsigned(SEMAPHORES)
    out8: unsigned(1)
    out16: unsigned(1)
    shift8: unsigned(6)
    shift16: unsigned(6)
    beats: unsigned(BEAT_BITS)
    channels: unsigned(CHANNEL_BITS)
    eps: unsigned(EPS_BITS)
    src: unsigned(ADDRESS_BITS)
    act: unsigned(ADDRESS_BITS)
    res: unsigned(ADDRESS_BITS)
    norm: unsigned(ADDRESS_BITS)


class StoreCommand(data.Struct):
    """A resolved STORE instruction."""

    wait: unsigned(SEMAPHORES)
    signal: unsigned(SEMAPHORES)
    last: unsigned(1)
    beats: unsigned(BEAT_BITS)
    src: unsigned(ADDRESS_BITS)


COMMANDS: dict[Engine, type[data.Struct]] = {
    Engine.ARRAY: ArrayCommand,
    Engine.SOFTMAX: SoftmaxCommand,
    Engine.NORM: NormCommand,
    Engine.STORE: StoreCommand,
}
"""Layout of each engine's commands."""

SEMAPHORES_OF: dict[Engine, tuple[tuple[Semaphore, ...], tuple[Semaphore, ...]]] = {
    Engine.ARRAY: (
        (Semaphore.INPUT_FULL, Semaphore.SCORE_FREE, Semaphore.PROB_FULL, Semaphore.NORM_FULL, Semaphore.OUTPUT_FREE),
        (Semaphore.INPUT_FREE, Semaphore.SCORE_FULL, Semaphore.PROB_FREE, Semaphore.SUM_FULL, Semaphore.OUTPUT_FULL),
    ),
    Engine.SOFTMAX: ((Semaphore.SCORE_FULL, Semaphore.PROB_FREE), (Semaphore.SCORE_FREE, Semaphore.PROB_FULL)),
    Engine.NORM: (
        (Semaphore.INPUT_FULL, Semaphore.SUM_FULL, Semaphore.OUTPUT_FREE),
        (Semaphore.INPUT_FREE, Semaphore.NORM_FULL, Semaphore.OUTPUT_FULL),
    ),
    Engine.STORE: ((Semaphore.OUTPUT_FULL,), (Semaphore.OUTPUT_FREE,)),
}
"""Semaphores that each engine can wait for, and those that it can signal: no others cost it hardware."""
