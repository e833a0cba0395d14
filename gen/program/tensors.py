# SPDX-License-Identifier: Apache-2.0
"""From streams of beats back to named tensors: which command of a program makes which slice of which tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw.config import CoreConfig
from hw.program.commands import Engine
from hw.program.isa import Format
from sim.golden import IntArray
from sim.sequence import commands

__all__ = ["STREAMS", "Slice", "Tag", "differences", "gather", "slices"]

STREAMS = {
    "drain": (16, True),
    "score": (32, True),
    "softmax": (8, False),
    "norm8": (8, True),
    "norm16": (16, True),
}
"""Streams of beats that the core's probes of these names show: bits of a lane, and whether it is signed."""


@dataclass(frozen=True, kw_only=True)
class Tag:
    """What an instruction makes: tensors of :func:`sim.reference.forward`, and how beats hold their columns.

    A beat stream holds ``groups`` groups of ``stride`` columns, the first ``width`` of each being the tensor's.
    ``head``: the outer loop index is the head, which owns that group of the tensor alone. ``keys``: columns are keys,
    and the tensor is [heads, tokens, tokens]. ``first_row``: only the first token's row is meant. ``names`` has two
    entries where a NORM makes both forms.
    """

    names: tuple[str, ...]
    width: int = 0
    groups: int = 1
    stride: int = 0
    head: bool = False
    keys: bool = False
    first_row: bool = False

    def __str__(self) -> str:
        return ", ".join(self.names)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Part of a tensor that one command makes: ``beats`` beats of its engine's ``stream``, from ``start`` on."""

    stream: str
    start: int
    beats: int
    name: str
    row: int
    """First token row."""
    rows: int
    """Rows that are tokens."""
    column: int
    """First column (key, where ``head`` indexes a [heads, tokens, tokens] tensor)."""
    width: int
    groups: int
    stride: int
    head: int | None
    keys: bool


def slices(program: Sequence[int], tags: Mapping[int, Tag], config: CoreConfig, tokens: int) -> list[Slice]:
    """The slice that each command makes, in program order (two for a NORM that writes both forms)."""
    position = dict.fromkeys(STREAMS, 0)
    made = []
    for command in commands(program, config, tokens):
        tag = tags.get(command.address)
        if tag is None:
            continue
        if command.engine == Engine.ARRAY:
            streams = ["score" if command.result == Format.SCORE else "drain"]
            beats = command.n * config.tile_beats
        elif command.engine == Engine.SOFTMAX:
            streams, beats = ["softmax"], -(-tokens // config.depth) * config.word_beats
        else:
            streams = ["norm8"] * command.out8 + ["norm16"] * command.out16
            beats = command.beats
        row = command.j * config.rows
        for stream, name in zip(streams, tag.names, strict=True):
            made.append(
                Slice(
                    stream=stream,
                    start=position[stream],
                    beats=beats,
                    name=name,
                    row=row,
                    rows=1 if tag.first_row else min(config.rows, tokens - row),
                    column=command.i * tag.width if tag.head and not tag.keys else 0,
                    width=tokens if tag.keys else tag.width,
                    groups=tag.groups,
                    stride=tag.stride or beats * config.drain_columns,
                    head=command.i if tag.head else None,
                    keys=tag.keys,
                )
            )
            position[stream] += beats
    return made


def gather(parts: Iterable[Slice], beats: Mapping[str, IntArray], config: CoreConfig) -> dict[str, IntArray]:
    """Named tensors from the :data:`STREAMS`, each [beats, lanes], element p * rows + r, in the order they were made.

    A tensor that is made for the first token alone has one row.

    Raises
    ------
    ValueError
        If a stream has fewer or more beats than the program makes, or the wrong number of lanes.
    """
    parts = list(parts)
    lanes = config.lanes
    for stream in STREAMS:
        expected = sum(p.beats for p in parts if p.stream == stream)
        found = np.asarray(beats.get(stream, ()))
        if len(found) != expected or (expected and found.shape[1:] != (lanes,)):
            raise ValueError(f"{stream} must have {expected} beats of {lanes} lanes, not {found.shape}")
    pieces: dict[str, list[tuple[Slice, IntArray]]] = {}
    for p in parts:
        data = np.asarray(beats[p.stream])[p.start : p.start + p.beats].reshape(-1, config.rows).T
        data = data[: p.rows, : p.groups * p.stride].reshape(p.rows, p.groups, p.stride)[:, :, : p.width]
        pieces.setdefault(p.name, []).append((p, data.reshape(p.rows, -1)))
    tensors: dict[str, IntArray] = {}
    for name, made in pieces.items():
        rows = max(p.row + p.rows for p, _ in made)
        if made[0][0].keys:
            heads = max(p.head or 0 for p, _ in made) + 1
            tensor: IntArray = np.zeros((heads, rows, made[0][0].width), np.int64)
            for p, data in made:
                tensor[p.head or 0, p.row : p.row + p.rows] = data
        else:
            tensor = np.zeros((rows, max(p.column + data.shape[1] for p, data in made)), np.int64)
            for p, data in made:
                tensor[p.row : p.row + p.rows, p.column : p.column + data.shape[1]] = data
        tensors[name] = tensor
    return tensors


def differences(collected: Mapping[str, IntArray], reference: Mapping[str, IntArray]) -> dict[str, str]:
    """Tensors of ``collected`` that differ from ``reference``, each with the number of elements and the first one.

    A collected tensor may hold only the first rows of the reference's. An empty result means bit-exact.
    """
    found = {}
    for name, tensor in collected.items():
        expected = np.asarray(reference[name])
        if tensor.shape != expected.shape:
            expected = expected[: len(tensor)]
        if tensor.shape != expected.shape:
            found[name] = f"has shape {tensor.shape}, not {expected.shape}"
            continue
        wrong = np.argwhere(tensor != expected)
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            found[name] = f"{len(wrong)} of {tensor.size} differ, first at {at}: {tensor[at]}, not {expected[at]}"
    return found
