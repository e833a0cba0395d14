# SPDX-License-Identifier: SHL-2.1
"""The command set: program words, engine commands, semaphores and load packets, each layout declared once.

A program is a sequence of 64-bit words. Every instruction is a header word (opcode in bits 2:0) followed by the fixed
number of words that :data:`WORDS` gives. Operands are resolved as they are fetched: ``base + i * outer + j * inner``,
where ``i`` and ``j`` are the outer and inner index of the enclosing loop (0 outside one).

``LOOP`` repeats the next ``body`` words ``outer * inner + lag`` times, the inner index running fastest. An
instruction of the body with lag ``l`` acts, at iteration t, on the indices of iteration ``t - l``, and is skipped
while ``t < l`` and once ``t - l`` reaches ``outer * inner``: this is how ``QK^T(t) | softmax(t) | PV(t - l)`` becomes a
pipeline for every trip count. Loops do not nest.

Commands go, in program order, to the queue of their engine. An engine starts a command when every semaphore of
``wait`` is positive (each is decremented by one), and increments each of ``signal`` when the command's last result has
been written. ``wait_first`` restricts the wait to the loop's first iteration, ``signal_when`` the signal to its first
or last. A program must give each semaphore a single consuming engine, and must be valid when run one instruction
at a time in order: then it is free of deadlock and correct for any timing.

``pending`` (ARRAY): the command starts only when at most that many earlier ARRAY commands have results still to be
written. Value :data:`PENDING_ROWS` stands for ``min(row_blocks - 1, 6)``, :data:`PENDING_MAX` is the largest literal
(6, a limit too: never more than seven commands are in flight, this one among them).
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

__all__ = [
    "WORD_BITS", "SEMAPHORES", "BEAT_BITS", "TILE_BITS",
    "ADDRESS_BITS", "STRIDE_BITS", "INDEX_BITS", "TOKEN_BITS", "EPS_BITS", "LAG_MAX", "PENDING_MAX",
    "PENDING_ROWS", "Opcode", "Semaphore", "SEMAPHORE_INITIAL", "When", "ASource", "BSource", "Format", "Destination",
    "Target", "Sync", "Operand", "End", "Loop", "ArrayHeader", "ArrayCounts", "SoftmaxHeader", "NormHeader",
    "NormCounts", "StoreHeader", "StoreCounts", "WORDS", "ChannelParameters", "NormParameters", "HeadParameters",
    "GeluParameters", "PacketHeader", "InputRegion", "ArrayCommand", "SoftmaxCommand", "NormCommand", "StoreCommand",
    "Lengths",
]  # fmt: skip

WORD_BITS = 64
SEMAPHORES = 12
"""Semaphores there are, named or not."""
BEAT_BITS = 12
"""Of a count of beats, and of an index of one."""
TILE_BITS = 12
"""Of a count of column tiles."""
ADDRESS_BITS = 20
STRIDE_BITS = 18
INDEX_BITS = 12
TOKEN_BITS = 12
EPS_BITS = 40
LAG_MAX = 4
PENDING_MAX = 6
PENDING_ROWS = 7


class Opcode(enum.Enum, shape=3):
    """First three bits of every instruction."""

    END = 0  # end of one input's work: start over when `run` is high
    LOOP = 1
    ARRAY = 2  # one row block: rows x (n tiles) x (k words) through the array and the drain
    SOFTMAX = 3  # one row block of scores to unnormalised exponentials and row scales
    NORM = 4  # LayerNorm of one row block
    STORE = 5  # one row block of RES to the output stream


class Semaphore(enum.IntEnum):
    """Bit number of each counting semaphore in ``wait`` and ``signal``."""

    INPUT_FREE = 0  # the input region may be overwritten (consumed by the loader)
    INPUT_FULL = 1  # an input is resident (signalled by the loader)
    SCORE_FREE = 2
    SCORE_FULL = 3
    PROB_FREE = 4
    PROB_FULL = 5
    SUM_FULL = 6  # a row block of the residual stream is ready to be normalised
    NORM_FULL = 7  # a row block of normalised operands is ready
    OUTPUT_FREE = 8  # the output region may be overwritten
    OUTPUT_FULL = 9  # a row block of output is ready to be stored


def SEMAPHORE_INITIAL(slots: int) -> dict[Semaphore, int]:
    """Count of each semaphore after reset (the others are 0); ``slots`` is the depth of the score and prob rings."""
    return {
        Semaphore.INPUT_FREE: 1,
        Semaphore.SCORE_FREE: slots,
        Semaphore.PROB_FREE: slots,
        Semaphore.OUTPUT_FREE: 1,
    }


class When(enum.Enum, shape=2):
    """Loop iterations at which an instruction signals."""

    ALWAYS = 0
    FIRST = 1
    LAST = 2


class ASource(enum.Enum, shape=1):
    """Memory of the A operand. PROB is a ring: its slot is implied and the A address is ignored."""

    ACT = 0
    PROB = 1


class BSource(enum.Enum, shape=1):
    """Memory of the B operand."""

    W = 0
    KV = 1


class Format(enum.Enum, shape=3):
    """What the drain makes of an accumulator."""

    INT8 = 0  # requantise to int8
    UINT8 = 1  # requantise to uint8
    ACTIVATION = 2  # table: requantise to uint8, look up; ibert: requantise to int8, i-GELU
    INT16 = 3  # requantise to int16, plus RES[res] where `add`
    SCORE = 4  # raw, to the score ring, with running row maximum over keys < tokens


class Destination(enum.Enum, shape=2):
    """Where the drain writes (Format.SCORE goes to the score ring whatever this says)."""

    ACT = 0  # beat address out + beat
    RES = 1  # word address out + beat
    KEY = 2  # KV as K:   sub-word address out + (channel // depth) * out_step
    VALUE = 3  # KV as V^T: sub-word address out + tile * out_step


class Target(enum.Enum, shape=4):
    """Memory that a load packet writes."""

    W = 0
    ACT = 1
    RES = 2
    CHAN = 3
    NORM = 4
    HEAD = 5
    TABLE = 6
    PROG = 7
    REGION = 8  # one word, an InputRegion


class Sync(data.Struct):
    """Synchronisation fields of an instruction, as they stand in its header."""

    lag: unsigned(3)
    wait: unsigned(SEMAPHORES)
    wait_first: unsigned(1)
    signal: unsigned(SEMAPHORES)
    signal_when: When


class Operand(data.Struct):
    """Address word: ``base + i * outer + j * inner`` (modulo 2^20)."""

    base: unsigned(ADDRESS_BITS)
    outer: unsigned(STRIDE_BITS)
    inner: unsigned(STRIDE_BITS)


class End(data.Struct):
    """END header."""

    opcode: Opcode


class Loop(data.Struct):
    """LOOP header. A count whose ``rows`` flag is set is the number of row blocks at run time instead."""

    opcode: Opcode
    outer: unsigned(INDEX_BITS)
    outer_rows: unsigned(1)
    inner: unsigned(INDEX_BITS)
    inner_rows: unsigned(1)
    lag: unsigned(3)
    body: unsigned(8)


class ArrayHeader(data.Struct):
    """ARRAY, word 0; then ArrayCounts and the operands A, B, OUT, RES, CHAN."""

    opcode: Opcode
    sync: Sync
    pending: unsigned(3)
    a_source: ASource
    a_unsigned: unsigned(1)  # the A operand is uint8
    b_source: BSource
    result: Format
    destination: Destination
    row_scale: unsigned(1)  # multiplier and shift come from the softmax's row scales, and the bias is 0
    add: unsigned(1)  # Format.INT16: add RES
    table: unsigned(6)  # Format.ACTIVATION: which table


class ArrayCounts(data.Struct):
    """ARRAY, word 1. ``k_tokens``: k = ceil(tokens / depth); ``n_tokens``: n = ceil(tokens / cols).

    B word of tile t, depth word d: ``b + t * b_n + d * b_k``.
    """

    n: unsigned(TILE_BITS)
    n_tokens: unsigned(1)
    k: unsigned(10)
    k_tokens: unsigned(1)
    b_n: unsigned(14)
    b_k: unsigned(12)
    out_step: unsigned(12)


class SoftmaxHeader(data.Struct):
    """SOFTMAX, word 0; then the operand HEAD."""

    opcode: Opcode
    sync: Sync


class NormHeader(data.Struct):
    """NORM, word 0; then NormCounts and the operands SRC (RES words), ACT (beats), RES (words), NORM (words).

    ``out8`` writes the int8 form to ACT with the parameters at NORM; ``out16`` writes the int16 form to RES with the
    parameters that follow those of the 8-bit form where both are made (at NORM + beats), else those at NORM.
    """

    opcode: Opcode
    sync: Sync
    out8: unsigned(1)
    out16: unsigned(1)
    shift8: unsigned(6)
    shift16: unsigned(6)


class NormCounts(data.Struct):
    """NORM, word 1: ``beats`` of a row block (padded channels must be zero), true ``channels``, and ``eps``."""

    beats: unsigned(BEAT_BITS)
    channels: unsigned(12)
    eps: unsigned(EPS_BITS)


class StoreHeader(data.Struct):
    """STORE, word 0; then StoreCounts and the operand SRC (RES words). tlast marks a loop's last iteration's end."""

    opcode: Opcode
    sync: Sync


class StoreCounts(data.Struct):
    """STORE, word 1."""

    beats: unsigned(BEAT_BITS)


WORDS = {Opcode.END: 1, Opcode.LOOP: 1, Opcode.ARRAY: 7, Opcode.SOFTMAX: 2, Opcode.NORM: 6, Opcode.STORE: 3}
"""Words of each instruction, header included."""


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
    k: unsigned(10)
    b_n: unsigned(14)
    b_k: unsigned(12)
    out_step: unsigned(12)
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
    channels: unsigned(12)
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
