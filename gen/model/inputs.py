# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint takes: images, token ids or rows, each a class that checks samples and makes rows of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from sim.blocks import Input

__all__ = ["IDS", "MASK", "TYPES", "Images", "Rows", "Samples", "Source", "TokenIds", "Tokens", "checked_samples",
           "patches", "tokenized"]  # fmt: skip

Array = npt.NDArray
Float = npt.NDArray[np.floating]

IDS, TYPES, MASK = "input_ids", "token_type_ids", "attention_mask"
"""Names under which tokenizers write the arrays of :class:`Tokens`."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """One sequence as a tokenizer writes it: integers [T] each."""

    ids: Array
    types: Array | None = None
    """Type of each token; all 0 where there are none."""
    mask: Array | None = None
    """1 for each token of the sequence, 0 for padding; where there is none, trailing padding ids are padding."""

    def __len__(self) -> int:
        return len(self.ids)


def tokenized(arrays: Mapping[str, Array], name: str) -> list[Tokens]:
    """The samples in arrays [N, T] of a tokenizer; ``name`` stands for them in messages.

    Raises
    ------
    InputError
        If there are no ids, arrays of unknown meaning, or shapes that differ.
    """
    if IDS not in arrays:
        raise InputError(f"{name}: holds {', '.join(sorted(arrays))} without {IDS}; save what the tokenizer gave")
    ids = arrays[IDS]
    for key, array in arrays.items():
        if key not in (IDS, TYPES, MASK):
            raise InputError(f"{name}: array {key} beside {IDS} is not understood; save {IDS}, {TYPES}, {MASK} alone")
        if array.ndim != 2 or array.shape != ids.shape:
            alike = "" if key == IDS else f", as {IDS} are"
            raise InputError(
                f"{name}: {key} must be integers (N, T){alike}, not {_describe(array)}; save what the tokenizer gave, "
                "padded to one length"
            )
    types, mask = arrays.get(TYPES), arrays.get(MASK)
    return [
        Tokens(row, None if types is None else types[n], None if mask is None else mask[n]) for n, row in enumerate(ids)
    ]


def patches(images: Array, patch: tuple[int, int]) -> Array:
    """Images [N, C, H, W] to [N, patches, C * ph * pw]: pixels by channel, row, column; patches row by row."""
    count, channels, height, width = images.shape
    ph, pw = patch
    grid = images.reshape(count, channels, height // ph, ph, width // pw, pw)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(count, (height // ph) * (width // pw), channels * ph * pw)


def _describe(array: Array) -> str:
    return f"{array.dtype} of shape ({', '.join(map(str, array.shape))})"


Samples = Array | Sequence[Array] | Sequence[Tokens]
"""Several samples, as :func:`checked_samples` takes them."""


class Source(ABC):
    """What a model takes, and the rows that it becomes."""

    noun: str
    """What it is, for messages."""

    @property
    @abstractmethod
    def form(self) -> Input:
        """The integer rows that a core takes in its place."""

    @abstractmethod
    def check(self, inputs: Samples, name: str, max_tokens: int) -> list:
        """``inputs`` as a list of checked samples; ``InputError`` where they do not fit."""

    @abstractmethod
    def rows(self, samples: Sequence[Any]) -> tuple[Float, list[int]]:
        """Rows [sum of tokens, features] of checked samples, one sample behind the other, and tokens of each."""

    @abstractmethod
    def random(self, random: np.random.Generator, count: int, tokens: int) -> Array:
        """``count`` samples of ``tokens`` tokens."""

    def largest(self) -> float | None:
        """The largest magnitude of any row that there may be; None where only samples can tell."""
        return None

    def shortened(self, max_tokens: int, model: str) -> Source:
        """The same for sequences of at most ``max_tokens``, which the model has positions for.

        Raises
        ------
        InputError
            If its sequences have one length.
        """
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class Images(Source):
    """uint8 images [channels, height, width], cut into patches row by row behind a class token."""

    image: tuple[int, int, int]  # channels, height, width
    patch: tuple[int, int]  # height, width
    noun = "images"

    @property
    def form(self) -> Input:
        return Input(kind="patches", features=self.image[0] * self.patch[0] * self.patch[1])

    def check(self, inputs: Samples, name: str, max_tokens: int) -> list:
        shapes = {np.asarray(image).shape for image in inputs}
        if len(shapes) > 1:
            raise InputError(f"{name}: holds arrays of {len(shapes)} shapes; give images of one shape")
        images = np.asarray(inputs)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image:
            wanted = ", ".join(map(str, self.image))
            raise InputError(
                f"{name}: must be uint8 images of shape (N, {wanted}), not {_describe(images)}; convert them"
            )
        return list(images)

    def rows(self, samples: Sequence[Any]) -> tuple[Float, list[int]]:
        """Pixels by patch; the class token's row is zero."""
        pixels = patches(np.stack(samples).astype(np.float64), self.patch)
        rows = np.concatenate([np.zeros_like(pixels[:, :1]), pixels], axis=1)
        return rows.reshape(-1, rows.shape[2]), [rows.shape[1]] * len(rows)

    def random(self, random: np.random.Generator, count: int, tokens: int) -> Array:
        return random.integers(0, 256, (count, *self.image), dtype=np.uint8)

    def shortened(self, max_tokens: int, model: str) -> Source:
        tokens = 1 + (self.image[1] // self.patch[0]) * (self.image[2] // self.patch[1])
        raise InputError(
            f"--max-tokens {max_tokens}: an image is {tokens} tokens to {model}, no fewer and no more; leave "
            "--max-tokens out"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenIds(Source):
    """Token ids, to rows of the residual stream: ``word[id] + position[i] + token_type[t]``."""

    word: Float  # [vocabulary, hidden]
    position: Float  # [max_tokens, hidden]
    token_type: Float  # [types, hidden]
    pad: int | None = None  # trailing ids of this value are padding
    noun = "token ids"

    @property
    def form(self) -> Input:
        return Input(kind="residual", features=self.word.shape[1])

    def check(self, inputs: Samples, name: str, max_tokens: int) -> list:
        """:class:`Tokens` with types and mask, and without padding, which counts for nothing."""
        return [self._tokens(sample, f"{name}: sample {n}", max_tokens) for n, sample in enumerate(inputs)]

    def _tokens(self, sample: Array | Tokens, name: str, max_tokens: int) -> Tokens:
        sample = sample if isinstance(sample, Tokens) else Tokens(np.asarray(sample))
        ids = _integers(sample.ids, None, f"{name}: its token ids")
        types = (
            np.zeros_like(ids) if sample.types is None else _integers(sample.types, len(ids), f"{name}: its {TYPES}")
        )
        kept = _kept(ids, self.pad, name) if sample.mask is None else _attended(sample.mask, len(ids), name)
        ids, types = ids[kept], types[kept]
        _check_length(len(ids), name, max_tokens)
        for what, values, count, all_of in (
            ("token id", ids, len(self.word), "vocabulary"),
            (f"{TYPES} entry", types, len(self.token_type), "token types"),
        ):
            if (bad := values[(values < 0) | (values >= count)]).size:
                raise InputError(f"{name}: {what} {bad[0]} is outside the {all_of} 0..{count - 1}; correct it")
        return Tokens(ids, types, np.ones(len(ids), np.int8))

    def rows(self, samples: Sequence[Any]) -> tuple[Float, list[int]]:
        ids, types = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("ids", "types"))
        positions = np.concatenate([np.arange(len(sample)) for sample in samples])
        rows = self.word[ids].astype(np.float64) + self.position[positions] + self.token_type[types]
        return rows, [len(sample) for sample in samples]

    def random(self, random: np.random.Generator, count: int, tokens: int) -> Array:
        return random.integers(0, len(self.word), (count, tokens))

    def largest(self) -> float:
        """A bound over all tokens, not only those seen."""
        return float(sum(np.abs(table).max() for table in (self.word, self.position, self.token_type)))

    def shortened(self, max_tokens: int, model: str) -> Source:
        return replace(self, position=self.position[:max_tokens])


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows(Source):
    """Float rows [tokens, features] that are the residual stream, or an operand."""

    kind: Literal["residual", "operands"] = "residual"
    features: int
    noun = "rows of floats"

    @property
    def form(self) -> Input:
        return Input(kind=self.kind, features=self.features)

    def check(self, inputs: Samples, name: str, max_tokens: int) -> list:
        return [self._rows(np.asarray(rows), f"{name}: sample {n}", max_tokens) for n, rows in enumerate(inputs)]

    def _rows(self, rows: Array, name: str, max_tokens: int) -> Array:
        if rows.ndim != 2 or rows.shape[1] != self.features or not np.issubdtype(rows.dtype, np.floating):
            raise InputError(
                f"{name} must be floats of shape (tokens, {self.features}), not {_describe(rows)}; convert it"
            )
        _check_length(len(rows), name, max_tokens)
        if not np.isfinite(rows).all():
            raise InputError(f"{name} holds NaN or infinite values; correct them")
        return rows

    def rows(self, samples: Sequence[Any]) -> tuple[Float, list[int]]:
        return np.concatenate(samples).astype(np.float64), [len(rows) for rows in samples]

    def random(self, random: np.random.Generator, count: int, tokens: int) -> Array:
        return random.standard_normal((count, tokens, self.features))


def checked_samples(source: Source, inputs: Samples, name: str, *, model: str, max_tokens: int) -> list:
    """Inputs of ``source`` as a list of single samples; ``name`` stands for them in messages, ``model`` for the model.

    Images: uint8 [N, C, H, W]. Rows: floats [N, T, features] or a list of [T, features]. Token ids: integers [N, T], a
    list of such rows or of :class:`Tokens`; they become :class:`Tokens` with types and mask, and without padding, which
    counts for nothing on either side: a sequence's first token has position 0.

    Raises
    ------
    InputError
        If type, shape or values do not fit the model, or there is no sample.
    """
    if isinstance(inputs, np.ndarray) and not inputs.ndim:
        raise InputError(f"{name}: must be an array of samples, not one number; give at least one sample")
    if not len(inputs):
        raise InputError(f"{name}: holds no sample; give at least one")
    if not isinstance(source, TokenIds) and any(isinstance(sample, Tokens) for sample in inputs):
        raise InputError(f"{name}: holds token ids, and {model} takes {source.noun}; give these")
    return source.check(inputs, name, max_tokens)


def _integers(values: Array, count: int | None, name: str) -> Array:
    values = np.asarray(values)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer) or count not in (None, len(values)):
        wanted = "a row of integers" if count is None else f"a row of {count} integers"
        raise InputError(f"{name} must be {wanted}, not {_describe(values)}; convert them")
    return values


def _kept(ids: Array, pad: int | None, name: str) -> slice:
    """The tokens but for trailing padding."""
    tokens = np.flatnonzero(ids != pad)
    if len(tokens) and tokens[0]:
        raise InputError(
            f"{name} begins with the padding id {pad}, which may be a token or padding; give a .npz file with {IDS} "
            f"and {MASK}"
        )
    return slice(0, tokens[-1] + 1 if len(tokens) else 0)


def _attended(mask: Array, count: int, name: str) -> slice:
    """The tokens that the mask attends to, which must be neighbours."""
    mask = np.asarray(mask)
    mask = _integers(mask.astype(np.int8) if mask.dtype == bool else mask, count, f"{name}: its {MASK}")
    if (bad := mask[(mask != 0) & (mask != 1)]).size:
        raise InputError(f"{name}: its {MASK} holds {bad[0]}; give 1 for a token and 0 for padding")
    tokens = np.flatnonzero(mask)
    if not len(tokens):
        return slice(0, 0)
    first, end = int(tokens[0]), int(tokens[-1]) + 1
    if end - first != len(tokens):
        hole = first + int(np.flatnonzero(mask[first:end] == 0)[0])
        raise InputError(
            f"{name}: its {MASK} has a hole, 0 at token {hole} between tokens with 1, which the core cannot do; take "
            "masked tokens out, or pad at an end"
        )
    return slice(first, end)


def _check_length(length: int, name: str, max_tokens: int) -> None:
    if not 1 <= length <= max_tokens:
        raise InputError(
            f"{name} has {length} tokens, the model takes 1..{max_tokens}; split or drop it, or quantise with more "
            "--max-tokens if the checkpoint has them and generate with --fit"
        )
