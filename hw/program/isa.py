# SPDX-License-Identifier: SHL-2.1
"""The command set: what a program is, and the vocabulary of its words.

A program is a sequence of 64-bit words. Every instruction is a header word, which begins with the opcode, followed by a
fixed number of words. Operands are resolved as they are fetched: ``base + i * outer + j * inner``,
where ``i`` and ``j`` are the outer and inner index of the enclosing loop (0 outside one).

``LOOP`` repeats the next ``body`` words ``outer * inner + lag`` times, the inner index running fastest. An
instruction of the body with lag ``l`` acts, at iteration t, on the indices of iteration ``t - l``, and is skipped
while ``t < l`` and once ``t - l`` reaches ``outer * inner``: this is how ``QK^T(t) | softmax(t) | PV(t - l)`` becomes a
pipeline for every trip count. Loops do not nest.

Commands go, in program order, to the queue of their engine. An engine starts a command when every semaphore that it
waits for is positive (each is decremented by one), and increments those that it signals when the command's last result
has been written. Two waits and two signals each say in which iterations of the loop they count (:class:`When`). Which
semaphores an engine can wait for and signal is fixed (:data:`hw.program.commands.SEMAPHORES_OF`). A program must give
each semaphore a single consuming engine, and must be valid when run one instruction at a time in order: then it is free
of deadlock and correct for any timing.

Some fields, values and opcodes have no hardware yet (:data:`hw.program.instructions.NO_HARDWARE`). Assembler and
machine refuse them by name; the sequencer does not look at them, and of an opcode without hardware it skips one word.

``pending`` (ARRAY): the command starts only when at most that many earlier ARRAY commands have results still to be
written. Value :data:`PENDING_ROWS` stands for ``min(row_blocks - 1, 6)``, :data:`PENDING_MAX` is the largest literal
(6, a limit too: never more than seven commands are in flight, this one among them).
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = [
    "WORD_BITS", "SEMAPHORE_BITS", "SEMAPHORES", "BEAT_BITS", "TILE_BITS", "DEPTH_BITS", "STEP_BITS", "CHANNEL_BITS",
    "ADDRESS_BITS", "STRIDE_BITS", "INDEX_BITS", "TOKEN_BITS", "EPS_BITS", "LAG_BITS", "LAG_MAX", "PENDING_MAX",
    "PENDING_ROWS", "Semaphore", "SEMAPHORE_INITIAL", "When", "ASource", "BSource", "Format", "Destination", "Event",
    "Sync", "Operand",
]  # fmt: skip

WORD_BITS = 64
SEMAPHORE_BITS = 4
SEMAPHORES = 1 << SEMAPHORE_BITS
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
    """Number of each counting semaphore; in a command, the bit of ``wait`` and ``signal``."""

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
    PANEL_FREE = 10  # a slot of the panel ring may be overwritten; the ring's slot moves on with this signal
    PANEL_FULL = 11  # a panel of weights and constants has been fetched
    MASK_FREE = 12
    MASK_FULL = 13  # the mask of a row block is ready


def SEMAPHORE_INITIAL(slots: int) -> dict[Semaphore, int]:
    """Count of each semaphore after reset (the others are 0); ``slots`` is the depth of the score and prob rings."""
    return {
        Semaphore.INPUT_FREE: 1,
        Semaphore.SCORE_FREE: slots,
        Semaphore.PROB_FREE: slots,
        Semaphore.OUTPUT_FREE: 1,
    }


class When(enum.Enum, shape=3):
    """Loop iterations in which a wait or a signal counts. Outside a loop all but NEVER hold."""

    ALWAYS = 0
    FIRST = 1  # of the whole loop
    LAST = 2
    INNER_FIRST = 3  # inner index 0
    INNER_LAST = 4
    OUTER_FIRST = 5  # outer index 0: every inner iteration of it
    OUTER_LAST = 6
    NEVER = 7


class ASource(enum.Enum, shape=2):
    """Memory of the A operand. PROB is a ring: its slot is implied and the A address is ignored."""

    ACT = 0
    PROB = 1
    PANEL = 2  # activations fetched from external memory; slot implied


class BSource(enum.Enum, shape=2):
    """Memory of the B operand."""

    W = 0
    KV = 1
    PANEL = 2  # B and CHAN in the slot, which is implied, of the panel ring


class Format(enum.Enum, shape=4):
    """What the drain makes of an accumulator."""

    INT8 = 0  # requantise to int8
    UINT8 = 1  # requantise to uint8
    ACTIVATION = 2  # table: requantise to uint8, look up; ibert: requantise to int8, i-GELU
    INT16 = 3  # requantise to int16, plus RES[res] where `add`
    SCORE = 4  # raw, to the score ring, with running row maximum over keys < tokens
    PREDICT = 5  # of a scheme that skips tiles: into a reducer
    PRODUCT = 6  # of two columns, one of them through an activation (SwiGLU)


class Destination(enum.Enum, shape=3):
    """Where the drain writes (Format.SCORE goes to the score ring whatever this says)."""

    ACT = 0  # beat address out + beat
    RES = 1  # word address out + beat
    KEY = 2  # KV as K:   sub-word address out + (channel // depth) * out_step
    VALUE = 3  # KV as V^T: sub-word address out + tile * out_step
    MASK = 4  # unit bits of a row block
    EXTERNAL = 5  # external memory


class Event(data.Struct):
    """A wait or a signal: which semaphore, and in which iterations. NEVER: none."""

    semaphore: unsigned(SEMAPHORE_BITS)
    when: When


class Sync(data.Struct):
    """Synchronisation fields of an instruction, the same in every header."""

    lag: unsigned(LAG_BITS)
    acts: When  # iterations in which the instruction acts at all
    wait0: Event
    wait1: Event
    signal0: Event
    signal1: Event


class Operand(data.Struct):
    """Address word: ``base + i * outer + j * inner`` (modulo 2^20)."""

    base: unsigned(ADDRESS_BITS)
    outer: unsigned(STRIDE_BITS)
    inner: unsigned(STRIDE_BITS)
    position: unsigned(1)  # j counts from the row block of the position offset on
    group: unsigned(1)  # i counts groups of the loop's `group` outer iterations
