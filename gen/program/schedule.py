# SPDX-License-Identifier: Apache-2.0
"""Building blocks of a schedule: activation regions, operands, and single instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gen.program.assembler import Array, Instruction, Loop, Norm, Operand, Store
from gen.program.image import InputPort
from gen.program.layout import Layout, Placed, ceil_div
from gen.program.tensors import Tag
from hw.config import CoreConfig
from hw.program.isa import LAG_MAX, PENDING_ROWS, Destination, Format, Semaphore, When
from hw.program.loads import Target
from sim import qmodel
from sim.blocks import Part
from sim.qmodel import (
    Activation,
    Block,
    FeedForward,
    FirstRow,
    PatchEmbedding,
    Pooler,
    QuantModel,
    Relu,
    Residual,
    Table,
)

__all__ = ["Schedule", "Update"]


@dataclass(frozen=True, kw_only=True)
class Update:
    """A product that a block leaves to the next one, which says where its rows go."""

    placed: Placed
    a: Operand
    a_unsigned: bool = False
    wait_when: When = When.ALWAYS


class Schedule:
    """Regions and instruction builders of one model on one configuration; :meth:`loop` lets ``program`` grow."""

    def __init__(self, model: QuantModel, config: CoreConfig):
        self.model, self.config = model, config
        self.lag = 1
        self.layout = Layout(model, config)
        self.program: list[Instruction | Loop] = []
        self.logits = model.result == Part.LOGITS
        self.steps = _steps(model)
        self.regions()

    def regions(self) -> None:
        """Activation regions, sized for the model's longest sequence.

        O overwrites Q head by head: a row block's scores are done before its P.V starts.
        """
        y, model, blocks = self.layout, self.model, [block for _, block in self.steps]
        has = {type(block) for block in blocks}
        for block in blocks:
            if isinstance(block, PatchEmbedding):
                self.position = y.position(block)
        self.input = self.input_port()
        self.x = self.input.address if model.input.part == Part.OPERAND else y.act(y.hidden_words)
        # Where rows enter and sums leave, the next input's first norm may run beside this one's last FFN, which so
        # needs operands of its own.
        sums_leave = model.input.part == Part.STREAM and isinstance(blocks[-1], Residual)
        self.x_ffn = y.act(y.hidden_words) if sums_leave else self.x
        self.q = y.act(y.inner_words)
        self.keys, self.values = y.keys(), y.values()
        if FeedForward in has:
            self.hidden = y.act(y.ffn_words)
        self.h = y.res()
        if FirstRow in has:
            self.first_row = y.act(y.hidden_words, 1)
            self.pooled = y.act(y.act_words(model.hidden), 1) if Pooler in has else self.first_row
            self.logits_at = y.pools["RES"].reserve(ceil_div(model.classes, self.config.cols) * self.config.tile_beats)

    def input_port(self) -> InputPort:
        """Where the input goes: rows of the residual stream to RES, all else to ACT."""
        y, form = self.layout, self.model.input
        if form.part == Part.STREAM:
            return InputPort(form=form, target=Target.RES, address=y.res(), words=y.row_words)
        words = ceil_div(form.features, self.config.depth)
        return InputPort(form=form, target=Target.ACT, address=y.act(words), words=words)

    # --- operands: row block in the inner index, head in the outer one

    def act_words(self, base: int, words: int) -> Operand:
        return Operand(base, 0, words)

    def act_beats(self, base: int, words: int) -> Operand:
        return Operand(base * self.config.word_beats, 0, words * self.config.word_beats)

    def rows(self, base: int) -> Operand:
        return Operand(base, 0, self.layout.row_words)

    # --- single instructions

    def linear(
        self,
        placed: Placed,
        name: str,
        width: int,
        *,
        a: Operand,
        result: Format,
        out: Operand,
        destination: Destination = Destination.ACT,
        a_unsigned: bool = False,
        groups: int = 1,
        stride: int = 0,
    ) -> Array:
        """A product with weights, of every row block or (operands without a stride) of the first."""
        return Array(
            n=placed.n,
            k=placed.k,
            a=a,
            a_unsigned=a_unsigned,
            b=Operand(placed.w),
            b_n=placed.k,
            b_k=1,
            chan=Operand(placed.chan),
            result=result,
            out=out,
            destination=destination,
            tag=Tag(names=(name,), width=width, groups=groups, stride=stride, first_row=not a.inner),
        )

    def activated(
        self, linear: qmodel.Linear, activation: Activation, name: str, width: int, *, a: Operand, out: Operand
    ) -> Array:
        """A product with an activation behind it."""
        placed = self.layout.linear(linear, bank=activation.bank if isinstance(activation, Table) else None)
        result = Format.UINT8 if isinstance(activation, Relu) else Format.ACTIVATION
        return replace(
            self.linear(placed, name, width, a=a, result=result, out=out), table=self.layout.table(activation)
        )

    def to_stream(self, update: Update, name: str) -> Array:
        """The product of ``update``, to residual rows at h; it reads and writes row block by row block."""
        return replace(
            self.linear(
                update.placed,
                name,
                self.model.hidden,
                a=update.a,
                a_unsigned=update.a_unsigned,
                result=Format.INT16,
                destination=Destination.RES,
                out=self.rows(self.h),
            ),
            pending=PENDING_ROWS,
        )

    def norm(
        self, norm: qmodel.Norm, names: Sequence[str | None], *, src: int, x: int, first_row: bool = False
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
            norm=Operand(y.norm(norm, narrow=out8, wide=out16)),
            out8=out8,
            out16=out16,
            shift8=norm.narrow.shift if out8 and norm.narrow else 1,
            shift16=norm.wide.shift if out16 and norm.wide else 1,
            tag=Tag(names=tuple(name for name in names if name), width=self.model.hidden, first_row=first_row),
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


def _steps(model: QuantModel) -> list[tuple[str, Block]]:
    """The model's blocks by name; a norm whose first row alone is used is behind the :class:`FirstRow`, not before."""
    steps = list(model.named())
    for index, (_, block) in enumerate(steps[1:], 1):
        if isinstance(block, FirstRow) and isinstance(steps[index - 1][1], qmodel.Norm):
            steps[index - 1 : index + 1] = steps[index], steps[index - 1]
    return steps
