# SPDX-License-Identifier: Apache-2.0
"""A model as data: an input, and blocks in the order in which they run.

Blocks pass four things on: the *residual stream*, rows [tokens, hidden]; the *operand*, rows that the next matrix
product reads; the *update*, rows that the next :class:`Residual` adds to the stream; and at last the *logits*. A
pre-norm layer is norm, attention, residual, norm, feed-forward, residual; a post-norm layer is the same in another
order, attention, residual, norm, feed-forward, residual, norm, where each norm makes the stream too.

The classes here say what a block does. Its numbers are in subclasses: floats in :mod:`gen.model.blocks`, integers in
:mod:`sim.qmodel`. Everything that interprets a model walks :meth:`Transformer.named` and has one case per block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "Attention",
    "Block",
    "Classifier",
    "FeedForward",
    "FirstRow",
    "Input",
    "Norm",
    "OrderError",
    "Part",
    "PatchEmbedding",
    "Pooler",
    "Residual",
    "Transformer",
    "beside",
    "check_order",
]


class Part(Enum):
    """What one block makes and another reads; the value stands in messages."""

    PATCHES = "patches"
    STREAM = "the residual stream"
    OPERAND = "operand rows"
    UPDATE = "an update"
    LOGITS = "logits"


class OrderError(ValueError):
    """Blocks in an order in which one lacks what it reads; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What enters: integer rows [tokens, features] of one of three kinds.

    ``patches``: uint8 pixels, row 0 all zero for the class token. ``residual``: int16 rows that are the residual
    stream. ``operands``: int8 rows that are an operand.
    """

    kind: Literal["patches", "residual", "operands"]
    features: int

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """Type of the values."""
        kinds: dict[str, type[np.integer]] = {"patches": np.uint8, "residual": np.int16, "operands": np.int8}
        return np.dtype(kinds[self.kind])

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest value."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    @property
    def part(self) -> Part:
        """What the rows are to the first block."""
        return {"patches": Part.PATCHES, "residual": Part.STREAM, "operands": Part.OPERAND}[self.kind]

    def rounded(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.integer]:
        """The nearest rows of this kind."""
        return np.clip(np.rint(rows), *self.limits).astype(self.dtype)

    def random(self, random: np.random.Generator, tokens: int, scale: float) -> npt.NDArray[np.integer]:
        """Rows [tokens, features]: uniform pixels, else a standard normal distribution in steps of ``scale``."""
        if self.kind == "patches":
            rows = random.integers(0, 256, (tokens, self.features), dtype=np.uint8)
            rows[0] = 0
            return rows
        return self.rounded(random.standard_normal((tokens, self.features)) / scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A step of a model. ``reads`` what must be there, ``makes`` what is there behind it, less what it ``ends``."""

    noun: ClassVar[str]
    """What names are made of."""
    numbered: ClassVar[bool] = False
    """A layer may have several."""
    reads: ClassVar[frozenset[Part]] = frozenset()
    makes: ClassVar[frozenset[Part]] = frozenset()
    ends: ClassVar[frozenset[Part]] = frozenset()


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchEmbedding(Block):
    """Patches to residual rows: a matrix product and a position table, whose row 0 has the class token in it."""

    noun: ClassVar[str] = "embedding"
    reads: ClassVar[frozenset[Part]] = frozenset({Part.PATCHES})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.STREAM})
    ends: ClassVar[frozenset[Part]] = frozenset({Part.PATCHES})


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm(Block):
    """LayerNorm of the residual stream: the operand of what follows."""

    noun: ClassVar[str] = "norm"
    numbered: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = frozenset({Part.STREAM})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND})

    stream: bool = False
    """The result is the residual stream too (post-norm)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention(Block):
    """Multi-head attention with its output projection."""

    noun: ClassVar[str] = "attention"
    reads: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.UPDATE})


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedForward(Block):
    """Two matrix products with an activation between them."""

    noun: ClassVar[str] = "ffn"
    reads: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.UPDATE})


@dataclass(frozen=True, kw_only=True, eq=False)
class Residual(Block):
    """The residual stream plus the update."""

    noun: ClassVar[str] = "residual"
    numbered: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = frozenset({Part.STREAM, Part.UPDATE})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.STREAM})
    ends: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND, Part.UPDATE})


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstRow(Block):
    """From here on there is the first token's row alone."""

    noun: ClassVar[str] = "first_row"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooler(Block):
    """A matrix product and tanh, on an operand row."""

    noun: ClassVar[str] = "pooler"
    reads: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND})


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier(Block):
    """A matrix product: the logits of an operand row."""

    noun: ClassVar[str] = "classifier"
    reads: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND})
    makes: ClassVar[frozenset[Part]] = frozenset({Part.LOGITS})
    ends: ClassVar[frozenset[Part]] = frozenset({Part.OPERAND, Part.STREAM})


AnyBlock = TypeVar("AnyBlock", bound=Block)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transformer(Generic[AnyBlock]):
    """Sizes that all blocks share, and the blocks: a stem, layers, and a head.

    The bare attention block has no layers, and in its head nothing but :class:`Attention`.
    """

    name: str
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    max_tokens: int
    stem: tuple[AnyBlock, ...] = ()
    layers: tuple[tuple[AnyBlock, ...], ...] = ()
    head: tuple[AnyBlock, ...] = ()
    labels: tuple[str, ...] = ()
    """Names of the logits; none where they have none."""
    source: str = ""
    """SHA-256 of the checkpoint's configuration and tensors; "" where there was no checkpoint."""

    def named(self) -> Iterator[tuple[str, AnyBlock]]:
        """Every block, in order, under the name that its place gives it.

        ``embedding``, ``embedding.norm``; ``layerN.norm1``, ``layerN.attention``, ``layerN.residual1``,
        ``layerN.ffn`` and so on; ``final_norm``, ``pooler``, ``classifier``.
        """
        for block in self.stem:
            yield block.noun if block.noun == "embedding" else f"embedding.{block.noun}", block
        for index, layer in enumerate(self.layers):
            counts: dict[str, int] = {}
            for block in layer:
                number = counts[block.noun] = counts.get(block.noun, 0) + 1
                yield f"layer{index}.{block.noun}{number if block.numbered else ''}", block
        for block in self.head:
            yield "final_norm" if block.noun == "norm" else block.noun, block

    def block(self, name: str) -> AnyBlock:
        """The block of that name; ``KeyError`` where there is none."""
        return dict(self.named())[name]

    def mapped(self, change: Callable[[str, AnyBlock], Any]) -> dict[str, Any]:
        """``stem``, ``layers`` and ``head`` with ``change(name, block)`` in every block's place, made in order."""
        made = iter([change(name, block) for name, block in self.named()])
        return {
            "stem": tuple(next(made) for _ in self.stem),
            "layers": tuple(tuple(next(made) for _ in layer) for layer in self.layers),
            "head": tuple(next(made) for _ in self.head),
        }

    def readers(self, name: str) -> list[AnyBlock]:
        """The blocks that read the operand which the block ``name`` makes."""
        found, behind = [], False
        for each, block in self.named():
            if behind and Part.OPERAND in block.reads:
                found.append(block)
            if behind and Part.OPERAND in block.makes | block.ends:
                break
            behind = behind or each == name
        return found

    def stream_is_read(self, name: str) -> bool:
        """Whether the residual stream that the block ``name`` leaves is read by a later one, or is the result."""
        names = [each for each, _ in self.named()]
        later = [block for _, block in self.named()][names.index(name) + 1 :]
        return self.result == Part.STREAM or any(Part.STREAM in block.reads for block in later)

    @property
    def head_names(self) -> list[str]:
        """Names of the head's blocks."""
        return [name for name, _ in self.named()][-len(self.head) :] if self.head else []

    @property
    def result(self) -> Part:
        """What comes out: the logits, the residual stream's rows, or the bare attention block's update."""
        last = [block for _, block in self.named()][-1:]
        made = last[0].makes if last else frozenset()
        return next((part for part in (Part.LOGITS, Part.UPDATE) if part in made), Part.STREAM)

    @property
    def norm(self) -> Literal["pre", "post"]:
        """Where the layers have their norms, for reports."""
        return "post" if any(isinstance(layer[-1], Norm) for layer in self.layers if layer) else "pre"


def beside(name: str, tensor: str) -> str:
    """The name of a tensor inside a block: ``q`` of ``layer0.attention`` is ``layer0.q``."""
    layer = name.rpartition(".")[0]
    return f"{layer}.{tensor}" if layer else tensor


def check_order(blocks: Iterable[tuple[str, Block]], entering: Input) -> None:
    """Follow what ``entering`` rows become, block by block.

    Raises
    ------
    OrderError
        If a block lacks what it reads, an update is not added, nothing comes out, or two blocks have one name.
    """
    there, names = {entering.part}, set()
    for name, block in blocks:
        if name in names:
            raise OrderError(f"there is more than one block {name}")
        names.add(name)
        if missing := sorted(part.value for part in block.reads - there):
            raise OrderError(f"{name} reads {' and '.join(missing)}, which no block before it makes")
        if Part.UPDATE in block.makes & there:
            raise OrderError(f"{name} makes an update where no block has added the last one")
        there = (there - block.ends) | block.makes
    if Part.UPDATE in there and there & {Part.STREAM, Part.LOGITS}:
        raise OrderError("no block adds the last update to the residual stream")
    if not there & {Part.STREAM, Part.UPDATE, Part.LOGITS}:
        raise OrderError("nothing comes out of its blocks")
