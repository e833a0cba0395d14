# SPDX-License-Identifier: SHL-2.1
"""The command set: what a program is, and the vocabulary of its words.

A program is a sequence of 64-bit words. Every instruction is a header word, which begins with the opcode, followed by a
fixed number of words. Operands are resolved as they are fetched: ``base + i * outer + j * inner``,
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

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = [
    "WORD_BITS", "SEMAPHORES", "BEAT_BITS", "TILE_BITS", "DEPTH_BITS", "STEP_BITS", "CHANNEL_BITS", "ADDRESS_BITS",
    "STRIDE_BITS", "INDEX_BITS", "TOKEN_BITS", "EPS_BITS", "LAG_BITS", "LAG_MAX", "PENDING_MAX", "PENDING_ROWS",
    "Semaphore", "SEMAPHORE_INITIAL", "When", "ASource", "BSource", "Format", "Destination", "Sync", "Operand",
]  # fmt: skip

WORD_BITS = 64
SEMAPHORES = 12
"""Semaphores there are, named or not."""
BEAT_BITS = 12
"""Of a count of beats, and of an index of one."""
TILE_BITS = 12
"""Of a count of column tiles."""
DEPTH_BITS = 10
"""Of a count of contraction words."""
STEP_BITS = 12
"""Of a distance between words of an operand."""
ADDRESS_BITS = 20
STRIDE_BITS = 18
INDEX_BITS = 12
TOKEN_BITS = 12
CHANNEL_BITS = 12
"""Of a number of columns of a row."""
EPS_BITS = 40
LAG_BITS = 3
LAG_MAX = 4
PENDING_MAX = 6
PENDING_ROWS = 7


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


class Sync(data.Struct):
    """Synchronisation fields of an instruction, as they stand in its header."""

    lag: unsigned(LAG_BITS)
    wait: unsigned(SEMAPHORES)
    wait_first: unsigned(1)
    signal: unsigned(SEMAPHORES)
    signal_when: When


class Operand(data.Struct):
    """Address word: ``base + i * outer + j * inner`` (modulo 2^20)."""

    base: unsigned(ADDRESS_BITS)
    outer: unsigned(STRIDE_BITS)
    inner: unsigned(STRIDE_BITS)
