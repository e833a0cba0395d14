# SPDX-License-Identifier: SHL-2.1
"""Shapes of the core's memories."""

from amaranth.utils import ceil_log2

from .config import CoreConfig

__all__ = ["USED_BITS", "memory_shapes"]

USED_BITS = {"channel": 54, "norm": 48, "head": 44}
"""Bits of a lane that mean something, in memories where not all do."""


def memory_shapes(config: CoreConfig) -> dict[str, tuple[int, int, int]]:
    """``(words, lanes, granularity)`` of every memory; a word has ``lanes * granularity`` bits."""

    def split(words: int, width: int, granularity: int) -> tuple[int, int, int]:
        granularity = min(width, granularity)
        return words, width // granularity, granularity

    beat = config.lanes * 8
    ring = 1 << (ceil_log2(config.key_words * config.word_beats) + ceil_log2(config.slots))
    ring_words = 1 << (ceil_log2(config.key_words) + ceil_log2(config.slots))
    word = config.rows * config.depth * 8
    return {
        "weight": split(config.weight_words, config.cols * config.depth * 8, 64),
        "act": split(config.act_words, word, min(beat, 64)),
        "prob": split(ring_words, word, beat),
        "kv": split(config.kv_words, config.cols * config.depth * 8, 8),
        "residual": split(config.residual_words, config.lanes * 16, 64),
        "score": split(ring, config.lanes * 24, config.lanes * 24),
        "channel": split(config.channel_words, config.drain_columns * 64, 64),
        "norm": split(config.norm_words, config.drain_columns * 64, 64),
        "head": split(config.head_words, 64, 64),
        "program": split(config.program_words, 64, 64),
    }
