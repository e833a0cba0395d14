# SPDX-License-Identifier: Apache-2.0
"""A compiled model: program, memory contents, and how inputs enter and results leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.program import tensors
from gen.program.assembler import listing, pack
from gen.program.tensors import STREAMS, Slice, Tag
from hw.config import CoreConfig
from hw.io.targets import load_crc, load_packet_bytes, packet_header
from hw.memories import LOADABLE
from hw.program import loads
from hw.program.loads import Target
from sim.blocks import Input
from sim.golden import IntArray

__all__ = ["Image", "InputPort", "OutputPort"]

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class InputPort:
    """Where inputs go: ``words`` memory words for each row block from ``address`` of ``target`` on.

    Rows and columns beyond the input's are sent as zeros, to whole memory words. :meth:`region` tells the core.
    """

    form: Input
    target: Target
    address: int
    words: int

    def region(self, config: CoreConfig, tokens: int) -> int:
        """The InputRegion word of a program for at most ``tokens`` tokens.

        Raises
        ------
        InputError
            If a field cannot hold its value.
        """
        units = LOADABLE[self.target].geometry(config).word_units
        fields = {"target": self.target, "address": self.address * units, "words": self.words * units, "tokens": tokens}
        return pack(loads.InputRegion, fields, where="input region")


@dataclass(frozen=True, kw_only=True)
class OutputPort:
    """What leaves: ``beats`` RES words for each row block, of which the first ``width`` columns count.

    ``logits``: only row 0 of row block 0 is sent; otherwise all rows.
    """

    logits: bool
    beats: int
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """Everything that a core of ``config`` needs to run a model.

    Attributes
    ----------
    memories : contents by target, one integer a memory word (a byte for TABLE where gelu = "table"), from word 0 on
    usage : words needed and available of every memory
    lag : iterations that P.V trails its scores in the attention pipeline
    """

    name: str
    config: CoreConfig
    max_tokens: int
    memories: Mapping[Target, tuple[int, ...]]
    tags: Mapping[int, Tag]
    input: InputPort
    output: OutputPort
    result: str
    """Name of the tensor that is the output."""
    usage: Mapping[str, tuple[int, int]]
    lag: int

    @property
    def program(self) -> tuple[int, ...]:
        """Program words."""
        return self.memories[Target.PROG]

    @cached_property
    def listing(self) -> str:
        """The program, disassembled."""
        return listing(self.program, self.tags)

    def _check_tokens(self, tokens: int, name: str = "input") -> None:
        if not 1 <= tokens <= self.max_tokens:
            raise InputError(
                f"{name}: {tokens} tokens, and model {self.name} takes 1 to {self.max_tokens}; split it, or quantise "
                "with more --max-tokens and generate with --fit"
            )

    def input_packet(self, x: npt.ArrayLike, name: str = "input") -> Words:
        """Stream words (header and data) of one input [tokens, features], as :func:`sim.reference.forward` takes it.

        ``name`` stands for it in messages.

        Raises
        ------
        InputError
            If the shape or a value does not suit the model.
        """
        x = np.asarray(x)
        port, c = self.input, self.config
        (lo, hi), size, features = port.form.limits, port.form.dtype.itemsize, port.form.features
        if x.ndim != 2 or x.shape[1] != features:
            raise InputError(
                f"{name}: the shape must be [tokens, {features}], not {list(x.shape)}; give one row of "
                f"{features} values a token"
            )
        self._check_tokens(len(x), name)
        if x.dtype.kind not in "iu":
            raise InputError(f"{name}: values must be integers {lo}..{hi}, not {x.dtype}; quantise them first")
        if x.min() < lo or x.max() > hi:
            raise InputError(f"{name}: values must lie in {lo}..{hi}, not {x.min()}..{x.max()}; quantise them first")
        blocks = -(-len(x) // c.rows)
        geometry = LOADABLE[port.target].geometry(c)
        word_bytes = geometry.bytes
        columns = port.words * word_bytes // size // c.rows
        padded = np.zeros((blocks * c.rows, columns), np.int64)
        padded[: len(x), :features] = x
        order = padded.reshape(blocks, c.rows, columns).transpose(0, 2, 1)  # column-major within a row block
        data = np.ascontiguousarray(order).astype(np.uint8 if size == 1 else np.uint16)
        words = _stream_words(data.reshape(-1).view(np.uint8).reshape(-1, word_bytes))
        header = packet_header(port.target, address=port.address * geometry.word_units, count=len(words), is_input=True)
        return np.concatenate([np.array([header], np.uint64), words])

    def decode_output(self, words: npt.ArrayLike, tokens: int) -> IntArray:
        """The result (logits [classes] or rows [tokens, width]) from the words of the output stream."""
        self._check_tokens(tokens)
        words, c, port = np.asarray(words, dtype=np.uint64), self.config, self.output
        if len(words) != self.output_words(tokens):
            raise ValueError(f"The output must have {self.output_words(tokens)} words, not {len(words)}")
        beat_bytes = c.lanes * 2
        data = np.ascontiguousarray(words).view(np.uint8).reshape(-1, max(beat_bytes, 8))[:, :beat_bytes]
        beats = np.ascontiguousarray(data).view(np.int16).astype(np.int64)
        blocks = beats.reshape(-1, port.beats * c.drain_columns, c.rows).transpose(0, 2, 1)
        rows = blocks.reshape(-1, port.beats * c.drain_columns)[:, : port.width]
        return rows[0] if port.logits else rows[:tokens]

    def output_words(self, tokens: int) -> int:
        """Stream words of one result."""
        blocks = 1 if self.output.logits else -(-tokens // self.config.rows)
        return blocks * self.output.beats * max(self.config.lanes // 4, 1)

    def input_words(self, tokens: int) -> int:
        """Stream words of one input, header included."""
        per_word = LOADABLE[self.input.target].geometry(self.config).word_units
        return 1 + -(-tokens // self.config.rows) * self.input.words * per_word

    def load_packets(self) -> list[Words]:
        """Packets that load the whole model into a running core; REGION, without which it takes no input, last."""
        return [
            np.frombuffer(packet, "<u8").astype(np.uint64) for packet in load_packet_bytes(self.config, self.memories)
        ]

    @cached_property
    def load_crc(self) -> int:
        """What the core's LOAD_CRC is once these packets, and nothing else, have been loaded."""
        return load_crc(self.config, self.memories)

    def slices(self, tokens: int) -> list[Slice]:
        """Which slice of which tensor each command makes, in program order; see :mod:`gen.program.tensors`."""
        self._check_tokens(tokens)
        return tensors.slices(self.program, self.tags, self.config, tokens)

    def stream_beats(self, tokens: int) -> dict[str, int]:
        """Beats of one pass in each of :data:`gen.program.tensors.STREAMS`."""
        counts = dict.fromkeys(STREAMS, 0)
        for part in self.slices(tokens):
            counts[part.stream] += part.beats
        return counts

    def collect(self, tokens: int, streams: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Named tensors of one pass from what the core's probes showed, in order.

        ``streams``: [beats, lanes] integers under the names of :data:`gen.program.tensors.STREAMS`: ``drain`` (after
        activation or residual), ``score`` (raw), ``softmax`` (exponentials), ``norm8`` and ``norm16``. Compare the
        result with :func:`gen.program.tensors.differences`.
        """
        collected = tensors.gather(self.slices(tokens), streams, self.config)
        output = collected[self.result]
        return collected | {"output": output[0] if self.output.logits else output}


def _stream_words(data: npt.NDArray[np.uint8]) -> Words:
    """64-bit words of memory words [words, bytes]; a narrower memory word takes a stream word of its own."""
    if data.shape[1] < 8:
        data = np.pad(data, ((0, 0), (0, 8 - data.shape[1])))
    return np.ascontiguousarray(data).view(np.uint64).reshape(-1)
