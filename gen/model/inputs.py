# SPDX-License-Identifier: Apache-2.0
"""Turns arrays of images, token ids or rows into checked sequences for the float model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.model.checkpoint import Checkpoint, PatchEmbedding, TokenEmbedding

Array = npt.NDArray


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


def check_inputs(checkpoint: Checkpoint, inputs: Array | Sequence[Array], name: str = "input") -> list[Array]:
    """Inputs of ``checkpoint`` as a list of single samples; ``name`` stands for them in messages.

    Images: uint8 [N, C, H, W]. Token ids: integers [N, T], trailing padding removed, or a list of such rows.
    Residual rows: floats [N, T, hidden] or a list of [T, hidden].

    Raises
    ------
    InputError
        If type, shape or values do not fit the model, or there is no sample.
    """
    embedding = checkpoint.embedding
    if isinstance(embedding, PatchEmbedding):
        return _images(embedding, np.asarray(inputs), name)
    if isinstance(inputs, np.ndarray) and not inputs.ndim:
        raise InputError(f"{name}: must be an array of samples, not one number; give at least one sample")
    if not len(inputs):
        raise InputError(f"{name}: holds no sample; give at least one")
    if isinstance(embedding, TokenEmbedding):
        return [_tokens(checkpoint, embedding, np.asarray(row), name) for row in inputs]
    return [_rows(checkpoint, np.asarray(rows), name) for rows in inputs]


def _images(embedding: PatchEmbedding, images: Array, name: str) -> list[Array]:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != embedding.image:
        wanted = ", ".join(map(str, embedding.image))
        raise InputError(f"{name}: must be uint8 images of shape (N, {wanted}), not {_describe(images)}; convert them")
    if not len(images):
        raise InputError(f"{name}: holds no sample; give at least one")
    return list(images)


def _tokens(checkpoint: Checkpoint, embedding: TokenEmbedding, ids: Array, name: str) -> Array:
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{name}: each sample must be a row of integer token ids, not {_describe(ids)}; convert it")
    kept = np.flatnonzero(ids != embedding.pad)
    ids = ids[: kept[-1] + 1] if len(kept) else ids[:0]
    if not 1 <= len(ids) <= checkpoint.max_tokens:
        raise InputError(
            f"{name}: a sample has {len(ids)} tokens, the model takes 1..{checkpoint.max_tokens}; split or drop it"
        )
    if ids.min() < 0 or ids.max() >= len(embedding.word):
        bad = ids[(ids < 0) | (ids >= len(embedding.word))][0]
        raise InputError(f"{name}: token id {bad} is outside the vocabulary 0..{len(embedding.word) - 1}; correct it")
    return ids


def _rows(checkpoint: Checkpoint, rows: Array, name: str) -> Array:
    if rows.ndim != 2 or rows.shape[1] != checkpoint.hidden or not np.issubdtype(rows.dtype, np.floating):
        raise InputError(
            f"{name}: each sample must be floats of shape (tokens, {checkpoint.hidden}), not {_describe(rows)}"
            "; convert it"
        )
    if not 1 <= len(rows) <= checkpoint.max_tokens:
        raise InputError(
            f"{name}: a sample has {len(rows)} tokens, the model takes 1..{checkpoint.max_tokens}; split or drop it"
        )
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: holds NaN or infinite values; correct them")
    return rows
