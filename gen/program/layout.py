# SPDX-License-Identifier: Apache-2.0
"""Where a model lives in a core's memories: weights, constants and activation regions, padded to the tile."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from hw.config import CoreConfig
from hw.memories import MEMORIES, TABLE_ENTRIES
from hw.program import loads
from hw.structs import fields_of
from sim.qmodel import Activation, Attention, IBertGelu, Linear, Norm, PatchEmbedding, QuantModel, Table

__all__ = ["Groups", "Layout", "Placed", "Pool", "ceil_div", "pack_arrays"]


def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up."""
    return -(-a // b)


def pack_arrays(struct: type, **columns: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """64-bit words of a parameter Struct, one for each element of the equally long ``columns``.

    Raises
    ------
    InputError
        If a value does not fit its field.
    """
    layout = fields_of(struct)
    words: npt.NDArray[np.uint64] | None = None
    for name, column in columns.items():
        place = layout[name]
        values = np.asarray(column).astype(np.int64)
        if values.size and not (place.low <= values.min() and values.max() <= place.high):
            raise InputError(
                f"{struct.__name__}: field {name} holds {place.low}..{place.high}, not {values.min()}..{values.max()}; "
                "quantise the checkpoint again"
            )
        part = (values & ((1 << place.width) - 1)).astype(np.uint64) << np.uint64(place.offset)
        words = part if words is None else words | part
    if words is None:
        raise ValueError(f"{struct.__name__}: no field is given")
    return words


def _to_words(data: npt.NDArray[np.uint8]) -> list[int]:
    """Integers from little-endian rows of bytes."""
    return [int.from_bytes(row.tobytes(), "little") for row in data]


@dataclass
class Pool:
    """A memory being filled from word 0 on. ``words`` are the contents so far, ``size`` what is taken."""

    name: str
    available: int
    words: list[int] = field(default_factory=list)
    size: int = 0

    def place(self, words: list[int]) -> int:
        """Take room for these contents; returns their address."""
        base = self.size
        self.words += [0] * (base - len(self.words)) + words
        self.size = base + len(words)
        return base

    def reserve(self, count: int) -> int:
        """Take room for ``count`` words that the program writes."""
        base = self.size
        self.size += count
        return base


@dataclass(frozen=True)
class Groups:
    """Columns that come in ``count`` groups (heads) of ``width``, each padded to ``stride``."""

    count: int
    width: int
    stride: int


@dataclass(frozen=True)
class Placed:
    """A linear layer in W and CHAN: ``n`` column tiles of ``k`` contraction words."""

    w: int
    chan: int
    n: int
    k: int


def _spread(array: npt.NDArray, groups: Groups | None, axis: int) -> npt.NDArray:
    """Pad each group of ``axis`` from width to stride with zeros."""
    if groups is None:
        return array
    array = np.moveaxis(array, axis, 0)
    array = array.reshape(groups.count, groups.width, *array.shape[1:])
    padded = np.zeros((groups.count, groups.stride, *array.shape[2:]), array.dtype)
    padded[:, : groups.width] = array
    return np.moveaxis(padded.reshape(-1, *array.shape[2:]), 0, axis)


class Layout:
    """Memories of one model on one configuration, filled step by step by the compiler.

    Attributes
    ----------
    heads : columns of Q, K, V and O: each head padded to a multiple of the tile's columns and depth
    hidden_tiles, hidden_words, norm_beats : of a hidden row: drained tiles, ACT words, beats that LayerNorm takes
    row_words : RES words of a hidden row block
    ffn_words : ACT words of an FFN row block
    key_blocks, key_words : KV words of max_tokens keys, as columns (K) and as contraction (V)
    """

    def __init__(self, model: QuantModel, config: CoreConfig):
        self.model, self.config = model, config
        self.pools = {
            name: Pool(name, memory.geometry(config).words) for name, memory in MEMORIES.items() if not memory.ring
        }
        c = config
        unit = max(c.cols, c.depth)
        self.heads = Groups(model.heads, model.head_dim, ceil_div(model.head_dim, unit) * unit)
        self.inner = self.heads.count * self.heads.stride
        self.row_blocks = ceil_div(model.max_tokens, c.rows)
        self.hidden_tiles = ceil_div(model.hidden, c.cols)
        self.hidden_words = ceil_div(model.hidden, c.depth)
        self.norm_beats = ceil_div(model.hidden, c.drain_columns)
        self.row_words = self.hidden_tiles * c.tile_beats
        self.inner_words = self.inner // c.depth
        self.ffn_words = self.act_words(model.ffn)
        self.key_blocks = ceil_div(model.max_tokens, c.cols)
        self.key_words = ceil_div(model.max_tokens, c.depth)

    def act_words(self, columns: int) -> int:
        """ACT words that hold ``columns`` drained columns of a row block."""
        c = self.config
        return ceil_div(ceil_div(columns, c.cols) * c.cols, c.depth)

    # --- regions

    def act(self, words_per_block: int, blocks: int | None = None) -> int:
        """ACT region of ``words_per_block`` words for each row block."""
        return self.pools["ACT"].reserve(words_per_block * (self.row_blocks if blocks is None else blocks))

    def res(self) -> int:
        """RES region of hidden rows."""
        return self.pools["RES"].reserve(self.row_words * self.row_blocks)

    def keys(self) -> int:
        """KV region of the keys of all heads."""
        return self.pools["KV"].reserve(self.inner // self.config.depth * self.key_blocks)

    def values(self) -> int:
        """KV region of the transposed values of all heads."""
        return self.pools["KV"].reserve(self.inner // self.config.cols * self.key_words)

    # --- constants

    def linear(
        self,
        linear: Linear,
        *,
        outputs: Groups | None = None,
        inputs: Groups | None = None,
        bank: npt.ArrayLike | None = None,
    ) -> Placed:
        """Weights and channel constants, padded with zeros to whole tiles and contraction words."""
        c = self.config
        weight = _spread(_spread(np.asarray(linear.weight), outputs, 0), inputs, 1)
        n, k = ceil_div(weight.shape[0], c.cols), ceil_div(weight.shape[1], c.depth)
        padded = np.zeros((n * c.cols, k * c.depth), np.int8)
        padded[: weight.shape[0], : weight.shape[1]] = weight
        tiles = padded.reshape(n, c.cols, k, c.depth).transpose(0, 2, 1, 3).reshape(n * k, -1)
        w = self.pools["W"].place(_to_words(tiles.view(np.uint8)))
        columns: dict[str, npt.ArrayLike] = {"bias": linear.bias, "mult": linear.mult, "shift": linear.shift}
        if bank is not None:
            columns["bank"] = bank
        parameters = {}
        for name, values in columns.items():
            spread = _spread(np.asarray(values).astype(np.int64), outputs, 0)
            # A padded channel is 0 * 0 >> 1: its result is 0 in every format.
            parameters[name] = np.full(n * c.cols, int(name == "shift"), np.int64)
            parameters[name][: len(spread)] = np.maximum(spread, 1) if name == "shift" else spread
        chan = self._entries("CHAN", pack_arrays(loads.ChannelParameters, **parameters))
        return Placed(w=w, chan=chan, n=n, k=k)

    def _entries(self, pool: str, words: npt.NDArray[np.uint64]) -> int:
        """64-bit entries, drain_columns in a word."""
        return self.pools[pool].place(_to_words(words.reshape(-1, self.config.drain_columns).view(np.uint8)))

    def norm(self, norm: Norm, *, narrow: bool, wide: bool) -> int:
        """LayerNorm constants: those of the narrow form, then of the wide form; padded channels give 0."""
        base = self.pools["NORM"].size
        for wanted, form in ((narrow, norm.narrow), (wide, norm.wide)):
            if wanted and form is not None:
                padded = np.zeros((2, self.norm_beats * self.config.drain_columns), np.int64)
                padded[:, : self.model.hidden] = form.gamma, form.beta
                self._entries("NORM", pack_arrays(loads.NormParameters, gamma=padded[0], beta=padded[1]))
        return base

    def head_constants(self, attention: Attention) -> int:
        """HEAD words of one layer."""
        names = ("score_mult", "score_shift", "out_mult", "out_shift")
        words = pack_arrays(loads.HeadParameters, **{name: getattr(attention, name) for name in names})
        return self.pools["HEAD"].place(words.tolist())

    def table(self, activation: Activation) -> int:
        """Number of the activation's table (0 where it needs none)."""
        pool = self.pools["TABLE"]
        if isinstance(activation, Table):
            return pool.place(np.asarray(activation.table, np.uint8).ravel().tolist()) // TABLE_ENTRIES
        if isinstance(activation, IBertGelu):
            values = {name: [getattr(activation, name)] for name in ("b", "c", "mult", "shift")}
            return pool.place(pack_arrays(loads.GeluParameters, **values).tolist())
        return 0

    def position(self, patches: PatchEmbedding) -> int:
        """The position table in RES."""
        c = self.config
        table = np.zeros((self.row_blocks * c.rows, self.hidden_tiles * c.cols), np.int16)
        table[: self.model.max_tokens, : self.model.hidden] = patches.position[: self.model.max_tokens]
        beats = table.reshape(self.row_blocks, c.rows, -1, c.drain_columns).transpose(0, 2, 3, 1)
        return self.pools["RES"].place(_to_words(np.ascontiguousarray(beats).reshape(-1, c.lanes).view(np.uint8)))

    # --- capacity

    def usage(self) -> dict[str, tuple[int, int]]:
        """Words needed and available of each memory whose size the configuration sets."""
        return {name: (pool.size, pool.available) for name, pool in self.pools.items() if MEMORIES[name].capacity}

    def check_capacity(self) -> None:
        """Refuse what does not fit, naming every memory that is too small and the field that enlarges it."""
        short = []
        for name, (needed, available) in self.usage().items():
            if needed > available:
                memory, unit = MEMORIES[name], MEMORIES[name].unit(self.config)
                things = "tables" if name == "TABLE" else "words"
                short.append(
                    f"{name} needs {ceil_div(needed, unit)} {things} and has {available // unit} ({memory.capacity})"
                )
        if short:
            raise InputError(
                f"model {self.model.name} does not fit a {self.config.array} core: {'; '.join(short)}; "
                "use a larger preset, raise these fields, or a smaller model"
            )
