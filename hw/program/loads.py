# SPDX-License-Identifier: SHL-2.1
"""What is loaded: packets, their targets, and the constants that they bring."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..memories import Target
from .isa import TOKEN_BITS

__all__ = [
    "Target", "ChannelParameters", "NormParameters", "HeadParameters", "GeluParameters", "PacketHeader", "InputRegion",
]  # fmt: skip


class ChannelParameters(data.Struct):
    """One output channel in CHAN (64 bits)."""

    bias: signed(31)
    mult: unsigned(16)
    shift: unsigned(6)
    bank: unsigned(1)
    reserved: unsigned(10)


class NormParameters(data.Struct):
    """One channel in NORM (64 bits)."""

    gamma: signed(16)
    beta: signed(32)
    reserved: unsigned(16)


class HeadParameters(data.Struct):
    """One (layer, head) in HEAD (64 bits)."""

    score_mult: unsigned(16)
    score_shift: unsigned(6)
    out_mult: unsigned(16)
    out_shift: unsigned(6)
    reserved: unsigned(20)


class GeluParameters(data.Struct):
    """One table in TABLE where gelu = "ibert" (64 bits)."""

    b: unsigned(12)
    c: unsigned(20)
    mult: unsigned(16)
    shift: unsigned(6)
    reserved: unsigned(10)


class PacketHeader(data.Struct):
    """First word of a load packet; ``reserved`` is 0.

    ``input``: an input, as the InputRegion in REGION describes it; it waits for INPUT_FREE before its first word and
    signals INPUT_FULL once a pass of its length has begun.
    """

    target: Target
    input: unsigned(1)
    address: unsigned(24)  # in 64-bit units of the target (whole words where a word is narrower)
    count: unsigned(24)  # stream words that follow
    reserved: unsigned(11)


class InputRegion(data.Struct):
    """The word in REGION: what the resident program takes as input. All zeros, as after power-up: nothing.

    An input packet has ``target`` and ``address`` in its header, and ``words`` stream words for each row block of the
    sequence. Sequences have 1 to ``tokens`` tokens.
    """

    target: Target
    address: unsigned(24)
    words: unsigned(16)
    tokens: unsigned(TOKEN_BITS)
    reserved: unsigned(8)
