# SPDX-License-Identifier: Apache-2.0
"""Turns arrays of images, token ids or rows into checked sequences for the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.model.checkpoint import Checkpoint, PatchEmbedding, TokenEmbedding

Array = npt.NDArray

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
    return [Tokens(*(arrays[key][n] if key in arrays else None for key in (IDS, TYPES, MASK))) for n in range(len(ids))]


def patches(images: Array, patch: tuple[int, int]) -> Array:
    """Images [N, C, H, W] to [N, patches, C * ph * pw]: pixels by channel, row, column; patches row by row."""
    count, channels, height, width = images.shape
    ph, pw = patch
    grid = images.reshape(count, channels, height // ph, ph, width // pw, pw)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(count, (height // ph) * (width // pw), channels * ph * pw)


def patch_rows(images: Array, patch: tuple[int, int]) -> Array:
    """What the accelerator takes for uint8 images: :func:`patches` behind a row of zeros for the class token."""
    rows = patches(images, patch)
    return np.concatenate([np.zeros_like(rows[:, :1]), rows], axis=1)


def _describe(array: Array) -> str:
    return f"{array.dtype} of shape ({', '.join(map(str, array.shape))})"


def check_inputs(
    checkpoint: Checkpoint, inputs: Array | Sequence[Array] | Sequence[Tokens], name: str = "input"
) -> list[Array] | list[Tokens]:
    """Inputs of ``checkpoint`` as a list of single samples; ``name`` stands for them in messages.

    Images: uint8 [N, C, H, W]. Residual rows: floats [N, T, hidden] or a list of [T, hidden]. Token ids: integers
    [N, T], a list of such rows or of :class:`Tokens`; they become :class:`Tokens` with types and mask, and without
    padding, which counts for nothing on either side: a sequence's first token has position 0.

    Raises
    ------
    InputError
        If type, shape or values do not fit the model, or there is no sample.
    """
    embedding = checkpoint.embedding
    if isinstance(inputs, np.ndarray) and not inputs.ndim:
        raise InputError(f"{name}: must be an array of samples, not one number; give at least one sample")
    if not len(inputs):
        raise InputError(f"{name}: holds no sample; give at least one")
    if isinstance(embedding, TokenEmbedding):
        return [_tokens(checkpoint, embedding, row, f"{name}: sample {n}") for n, row in enumerate(inputs)]
    if any(isinstance(sample, Tokens) for sample in inputs):
        wanted = "images" if isinstance(embedding, PatchEmbedding) else "rows of floats"
        raise InputError(f"{name}: holds token ids, and {checkpoint.name} takes {wanted}; give these")
    if isinstance(embedding, PatchEmbedding):
        return _images(embedding, inputs, name)
    return [_rows(checkpoint, np.asarray(rows), f"{name}: sample {n}") for n, rows in enumerate(inputs)]


def _images(embedding: PatchEmbedding, images: Array | Sequence[Array], name: str) -> list[Array]:
    shapes = {np.shape(image) for image in images}
    if len(shapes) > 1:
        raise InputError(f"{name}: holds arrays of {len(shapes)} shapes; give images of one shape")
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != embedding.image:
        wanted = ", ".join(map(str, embedding.image))
        raise InputError(f"{name}: must be uint8 images of shape (N, {wanted}), not {_describe(images)}; convert them")
    return list(images)


def _tokens(checkpoint: Checkpoint, embedding: TokenEmbedding, sample: Array | Tokens, name: str) -> Tokens:
    sample = sample if isinstance(sample, Tokens) else Tokens(np.asarray(sample))
    ids = _integers(sample.ids, None, f"{name}: its token ids")
    types = np.zeros_like(ids) if sample.types is None else _integers(sample.types, len(ids), f"{name}: its {TYPES}")
    kept = _kept(ids, embedding.pad, name) if sample.mask is None else _attended(sample.mask, len(ids), name)
    ids, types = ids[kept], types[kept]
    _check_length(checkpoint, len(ids), name)
    for what, values, count, all_of in (
        ("token id", ids, len(embedding.word), "vocabulary"),
        (f"{TYPES} entry", types, len(embedding.token_type), "token types"),
    ):
        if (bad := values[(values < 0) | (values >= count)]).size:
            raise InputError(f"{name}: {what} {bad[0]} is outside the {all_of} 0..{count - 1}; correct it")
    return Tokens(ids, types, np.ones(len(ids), np.int8))


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


def _check_length(checkpoint: Checkpoint, length: int, name: str) -> None:
    if not 1 <= length <= checkpoint.max_tokens:
        raise InputError(
            f"{name} has {length} tokens, the model takes 1..{checkpoint.max_tokens}; split or drop it, or quantise "
            "with more --max-tokens if the checkpoint has them and generate with --fit"
        )


def _rows(checkpoint: Checkpoint, rows: Array, name: str) -> Array:
    if rows.ndim != 2 or rows.shape[1] != checkpoint.hidden or not np.issubdtype(rows.dtype, np.floating):
        raise InputError(
            f"{name} must be floats of shape (tokens, {checkpoint.hidden}), not {_describe(rows)}; convert it"
        )
    _check_length(checkpoint, len(rows), name)
    if not np.isfinite(rows).all():
        raise InputError(f"{name} holds NaN or infinite values; correct them")
    return rows
