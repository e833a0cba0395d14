# SPDX-License-Identifier: Apache-2.0
"""Building blocks of a schedule: activation regions, operands, and single instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gen.program.assembler import Array, Instruction, Loop, Norm, Operand, Store
from gen.program.image import InputPort
from gen.program.layout import Layout, Placed, ceil_div
from gen.program.tensors import Tag
from hw.config import CoreConfig
from hw.program.isa import LAG_MAX, PENDING_ROWS, Destination, Format, Semaphore, Target, When
from sim import qmodel
from sim.qmodel import Activation, OperandInput, PatchInput, QuantModel

__all__ = ["Schedule"]


class Schedule:
    """Regions and instruction builders of one model on one configuration; :meth:`loop` lets ``program`` grow."""

    def __init__(self, model: QuantModel, config: CoreConfig):
        self.model, self.config = model, config
        self.lag = 1
        self.layout = Layout(model, config)
        self.program: list[Instruction | Loop] = []
        self.patches = isinstance(model.input, PatchInput)
        self.operands = isinstance(model.input, OperandInput)
        self.pre = model.norm == "pre"
        self.logits = model.classifier is not None
        self.regions()

    def regions(self) -> None:
        """Activation regions, sized for the model's longest sequence.

        O overwrites Q head by head: a row block's scores are done before its P.V starts.
        """
        y = self.layout
        match self.model.input:
            case PatchInput(linear=linear):
                words = ceil_div(linear.weight.shape[1], self.config.depth)
                self.position = y.position(self.model.input)
                self.input = InputPort(
                    kind="patches",
                    target=Target.ACT,
                    address=y.act(words),
                    words=words,
                    features=linear.weight.shape[1],
                )
            case OperandInput():
                self.input = InputPort(
                    kind="operands",
                    target=Target.ACT,
                    address=y.act(y.hidden_words),
                    words=y.hidden_words,
                    features=self.model.hidden,
                )
            case _:
                self.input = InputPort(
                    kind="residual", target=Target.RES, address=y.res(), words=y.row_words, features=self.model.hidden
                )
        self.x = self.input.address if self.operands else y.act(y.hidden_words)
        # Where rows enter without patches and leave without a last norm, the next input's first norm may run beside
        # this one's last FFN, which so needs operands of its own.
        residual_rows = self.input.kind == "residual" and self.pre and not self.logits
        self.x_ffn = y.act(y.hidden_words) if residual_rows and self.model.final_norm is None else self.x
        self.q = y.act(y.inner_words)
        self.keys, self.values = y.keys(), y.values()
        if self.model.layers:
            self.hidden = y.act(y.ffn_words)
        self.h = y.res()
        if self.logits:
            self.first_row = y.act(y.hidden_words, 1)
            self.pooled = y.act(y.act_words(self.model.hidden), 1) if self.model.pooler else self.first_row
            self.logits_words = ceil_div(len(self.model.classifier.bias), self.config.cols) * self.config.tile_beats
            self.logits_at = y.pools["RES"].reserve(self.logits_words)

    # --- operands: row block in the inner index, head in the outer one

    def act_words(self, base: int, words: int) -> Operand:
        return Operand(base, 0, words)

    def act_beats(self, base: int, words: int) -> Operand:
        return Operand(base * self.config.word_beats, 0, words * self.config.word_beats)

    def rows(self, base: int) -> Operand:
        return Operand(base, 0, self.layout.row_words)

    # --- single instructions

    def linear(
        self, placed: Placed, name: str, width: int, *, groups: int = 1, stride: int = 0, **fields: object
    ) -> Array:
        """A product with weights, of every row block or (operands without a stride) of the first."""
        return Array(
            n=placed.n,
            k=placed.k,
            b=Operand(placed.w),
            b_n=placed.k,
            b_k=1,
            chan=Operand(placed.chan),
            tag=Tag(names=(name,), width=width, groups=groups, stride=stride, first_row=not fields["a"].inner),
            **fields,
        )

    def norm(
        self,
        norm: qmodel.Norm,
        names: Sequence[str | None],
        *,
        src: int,
        x: int,
        first_row: bool = False,
        **fields: object,
    ) -> Norm:
        """LayerNorm of a row block; ``names`` of its 8-bit and 16-bit form, None where it is not made."""
        y = self.layout
        out8, out16 = (name is not None for name in names)
        return Norm(
            beats=y.norm_beats,
            channels=self.model.hidden,
            eps=norm.eps,
            src=self.rows(src),
            act=self.act_beats(x, y.hidden_words) if out8 else Operand(),
            res=self.rows(self.h) if out16 else Operand(),
            norm=Operand(y.norm(norm, out8=out8, out16=out16)),
            out8=out8,
            out16=out16,
            shift8=norm.shift8 if out8 else 1,
            shift16=norm.shift16 if out16 else 1,
            tag=Tag(names=tuple(name for name in names if name), width=self.model.hidden, first_row=first_row),
            **fields,
        )

    def store(self, base: int, beats: int) -> Store:
        return Store(
            beats=beats,
            src=self.rows(base),
            wait=(Semaphore.OUTPUT_FULL,),
            signal=(Semaphore.OUTPUT_FREE,),
            signal_when=When.LAST,
        )

    def loop(self, *body: Instruction) -> None:
        """A loop over row blocks."""
        self.program.append(Loop(body=body))

    def rows_loop(self, makers: tuple[Instruction, ...], *users: Instruction) -> None:
        """A loop over row blocks that also holds the first users of the rows it makes, some iterations behind.

        So the array has work while LayerNorm is at a row block, and the norm's queue never holds up the program.
        """
        lag = LAG_MAX if makers else 0
        self.program.append(Loop(body=(*makers, *(replace(user, lag=lag) for user in users)), lag=lag))

    def norm8(
        self, norm: qmodel.Norm, name: str, *, x: int | None = None, both: bool = False, **fields: object
    ) -> Norm:
        """LayerNorm of a freshly summed row block to array operands (``both``: also back to h)."""
        return self.norm(
            norm,
            (name, f"{name}.residual" if both else None),
            src=self.h,
            x=self.x if x is None else x,
            wait=(Semaphore.SUM_FULL,),
            signal=(Semaphore.NORM_FULL,),
            **fields,
        )

    def residual(self, placed: Placed, name: str, *, a: Operand, src: int | None = None, **fields: object) -> Array:
        """A product that adds into the residual stream (from the rows at ``src``, to those at h)."""
        return self.linear(
            placed,
            name,
            self.model.hidden,
            a=a,
            result=Format.INT16,
            destination=Destination.RES,
            out=self.rows(self.h),
            res=self.rows(self.h if src is None else src),
            add=True,
            pending=PENDING_ROWS,
            **fields,
        )

    def activated(self, placed: Placed, activation: Activation, name: str, width: int, **fields: object) -> Array:
        """A product with an activation behind it."""
        return self.linear(
            placed,
            name,
            width,
            result=Format.UINT8 if activation.kind == "relu" else Format.ACTIVATION,
            table=self.layout.table(activation),
            **fields,
        )
