# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention as a schedule: projections, then scores, softmax and P.V of all heads as one pipeline."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gen.program.assembler import Array, Instruction, Loop, Operand, Softmax
from gen.program.layout import Placed, ceil_div
from gen.program.schedule import Schedule, Update
from gen.program.tensors import Tag
from hw.program.isa import PENDING_ROWS, ASource, BSource, Destination, Format, Semaphore, When
from sim.blocks import beside
from sim.qmodel import Attention

__all__ = ["AttentionSchedule"]


class AttentionSchedule(Schedule):
    """A schedule that knows how an attention block runs."""

    def attention(
        self,
        name: str,
        block: Attention,
        *,
        makers: tuple[Instruction, ...] = (),
        wait: tuple[Semaphore, ...],
        wait_when: When = When.ALWAYS,
        input_free: Literal["keys", "queries"] | None = None,
    ) -> Update:
        """Q, K, V and the attention pipeline; returns the output projection, for the caller to schedule.

        ``makers`` make the rows. ``input_free``: the last keys or queries free the input region.
        """
        y, c = self.layout, self.config
        heads = y.heads
        q, k, v = (y.linear(w, outputs=heads) for w in (block.q, block.k, block.v))
        o = y.linear(block.o, inputs=heads)
        head = y.head_constants(block)
        x = self.act_words(self.x, y.hidden_words)
        key_split, value_split = c.cols // c.rows, c.depth // c.rows  # row blocks of a KV word

        def projection(placed: Placed, tensor: str, out: Operand, destination: Destination = Destination.ACT) -> Array:
            product = self.linear(
                placed,
                beside(name, tensor),
                heads.width,
                groups=heads.count,
                stride=heads.stride,
                a=x,
                result=Format.INT8,
                out=out,
                destination=destination,
            )
            if input_free == {"k": "keys", "q": "queries"}.get(tensor, ""):
                return replace(product, signal=(Semaphore.INPUT_FREE,), signal_when=When.LAST)
            return product

        keys = projection(k, "k", Operand(self.keys * key_split, 0, 1), Destination.KEY)
        values = projection(v, "v", Operand(self.values * value_split, 0, 1), Destination.VALUE)
        self.rows_loop(
            makers,
            replace(keys, out_step=y.key_blocks * key_split, wait=wait, wait_when=wait_when),
            replace(values, out_step=y.key_words * value_split),
        )
        # Queries last: with row_blocks - 1 commands unfinished, all keys are written, and the first queries.
        self.loop(projection(q, "q", self.act_beats(self.q, y.inner_words)))
        self.program.append(self.attention_loop(name, head, self.lag))
        return Update(placed=o, a=self.act_words(self.q, y.inner_words), wait_when=When.FIRST)

    def attention_loop(self, name: str, head: int, lag: int) -> Loop:
        """Scores, softmax and P.V of all heads and row blocks as one pipeline; ``head``: the layer's HEAD address."""
        y, c, heads = self.layout, self.config, self.layout.heads
        head_words, head_beats = heads.stride // c.depth, heads.stride // c.drain_columns
        rows = self.act_beats(self.q, y.inner_words)
        scores = Array(
            n=None,
            k=ceil_div(heads.width, c.depth),
            a=Operand(self.q, head_words, y.inner_words),
            b=Operand(self.keys, head_words * y.key_blocks),
            b_n=1,
            b_k=y.key_blocks,
            b_source=BSource.KV,
            result=Format.SCORE,
            pending=PENDING_ROWS,
            wait=(Semaphore.SCORE_FREE,),
            signal=(Semaphore.SCORE_FULL,),
            tag=Tag(names=(beside(name, "scores"),), head=True, keys=True),
        )
        softmax = Softmax(
            head=Operand(head, 1),
            wait=(Semaphore.SCORE_FULL, Semaphore.PROB_FREE),
            signal=(Semaphore.SCORE_FREE, Semaphore.PROB_FULL),
            tag=Tag(names=(beside(name, "exp"),), head=True, keys=True),
        )
        product = Array(
            n=ceil_div(heads.width, c.cols),
            k=None,
            a=Operand(),
            a_source=ASource.PROB,
            a_unsigned=True,
            b=Operand(self.values, heads.stride // c.cols * y.key_words),
            b_n=y.key_words,
            b_k=1,
            b_source=BSource.KV,
            result=Format.INT8,
            row_scale=True,
            out=Operand(rows.base, head_beats, rows.inner),
            lag=lag,
            wait=(Semaphore.PROB_FULL,),
            signal=(Semaphore.PROB_FREE,),
            tag=Tag(names=(beside(name, "o"),), width=heads.width, head=True),
        )
        return Loop(outer=self.model.heads, lag=lag, body=(scores, product, softmax))
