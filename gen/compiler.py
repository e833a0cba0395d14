# SPDX-License-Identifier: Apache-2.0
"""Compiler: a quantised model to program and memory images.

The schedule keeps the array fed (see ``docs/architecture.md``): every matrix product is a loop over row blocks whose
LayerNorm, softmax or store runs beside it on its own engine. Hazards are covered for any timing; ``tests`` prove it
with :mod:`sim.order`:

* array to array: ``pending``. A loop over row blocks may start when at most ``row_blocks - 1`` commands are unfinished,
  for then the previous loop's first row block has been written, and so on row block by row block.
* array to softmax and norm and back: the SCORE, PROB, SUM and NORM semaphores.
* from one input to the next: INPUT_FREE once the input's last reader is past, OUTPUT_FREE before the first command
  that writes what the previous STORE still reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from gen.assembler import ROWS, Array, Instruction, Loop, Norm, Operand, Softmax, Store, assemble
from gen.errors import InputError
from gen.image import Image, InputPort, OutputPort
from gen.layout import Layout, Placed, ceil_div, check_model
from gen.tensors import Tag
from hw.config import CoreConfig
from hw.isa import (
    LAG_MAX,
    PENDING_MAX,
    PENDING_ROWS,
    ASource,
    BSource,
    Destination,
    Format,
    Semaphore,
    Target,
    When,
)
from sim import qmodel
from sim.qmodel import Activation, Attention, OperandInput, PatchInput, QuantModel

__all__ = ["compile_model", "memory_usage"]


class _Schedule:
    """Emits the program of one model; every method adds a loop or an instruction."""

    def __init__(self, model: QuantModel, config: CoreConfig, lag: int):
        self.model, self.config, self.lag = model, config, lag
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

    # --- the parts of a model

    def attention(
        self,
        block: Attention,
        prefix: str,
        *,
        wait: tuple[Semaphore, ...],
        wait_first: bool = False,
        input_free: str | None = None,
    ) -> Placed:
        """Q, K, V and the attention pipeline; returns the output projection, for the caller to schedule.

        ``input_free``: which command's ``key_first``, ``key_last`` or ``query_last`` end frees the input region.
        """
        y, c = self.layout, self.config
        model, heads = self.model, self.layout.heads
        groups = {"groups": heads.count, "stride": heads.stride}
        width = heads.width
        q, k, v = (y.linear(w, outputs=heads) for w in (block.q, block.k, block.v))
        o = y.linear(block.o, inputs=heads)
        head = y.head_constants(block)
        x = self.act_words(self.x, y.hidden_words)
        key_split, value_split = c.cols // c.rows, c.depth // c.rows  # row blocks of a KV word
        frees = {"signal": (Semaphore.INPUT_FREE,)}
        self.loop(
            self.linear(
                k,
                f"{prefix}k",
                width,
                **groups,
                a=x,
                result=Format.INT8,
                destination=Destination.KEY,
                out=Operand(self.keys * key_split, 0, 1),
                out_step=y.key_blocks * key_split,
                wait=wait,
                wait_first=wait_first,
                **(frees if input_free in ("key_first", "key_last") else {}),
                signal_when=When.FIRST if input_free == "key_first" else When.LAST,
            ),
            self.linear(
                v,
                f"{prefix}v",
                width,
                **groups,
                a=x,
                result=Format.INT8,
                destination=Destination.VALUE,
                out=Operand(self.values * value_split, 0, 1),
                out_step=y.key_words * value_split,
            ),
        )
        # Queries last: with row_blocks - 1 commands unfinished, all keys are written, and the first queries.
        self.loop(
            self.linear(
                q,
                f"{prefix}q",
                width,
                **groups,
                a=x,
                result=Format.INT8,
                out=self.act_beats(self.q, y.inner_words),
                **(frees if input_free == "query_last" else {}),
                signal_when=When.LAST,
            )
        )
        head_words, head_beats = heads.stride // c.depth, heads.stride // c.drain_columns
        rows = self.act_beats(self.q, y.inner_words)
        scores = Array(
            n=None,
            k=ceil_div(width, c.depth),
            a=Operand(self.q, head_words, y.inner_words),
            b=Operand(self.keys, head_words * y.key_blocks),
            b_n=1,
            b_k=y.key_blocks,
            b_source=BSource.KV,
            result=Format.SCORE,
            pending=PENDING_ROWS,
            wait=(Semaphore.SCORE_FREE,),
            signal=(Semaphore.SCORE_FULL,),
            tag=Tag(names=(f"{prefix}scores",), head=True, keys=True),
        )
        softmax = Softmax(
            head=Operand(head, 1),
            wait=(Semaphore.SCORE_FULL, Semaphore.PROB_FREE),
            signal=(Semaphore.SCORE_FREE, Semaphore.PROB_FULL),
            tag=Tag(names=(f"{prefix}exp",), head=True, keys=True),
        )
        product = Array(
            n=ceil_div(width, c.cols),
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
            lag=self.lag,
            wait=(Semaphore.PROB_FULL,),
            signal=(Semaphore.PROB_FREE,),
            tag=Tag(names=(f"{prefix}o",), width=width, head=True),
        )
        self.program.append(Loop(outer=model.heads, lag=self.lag, body=(scores, product, softmax)))
        return o

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

    def entry(self) -> None:
        """From the input region to the first layer's operands x (and residual rows h)."""
        y, model = self.layout, self.model
        waits = (Semaphore.INPUT_FULL,)
        if self.patches:
            placed = y.linear(model.input.linear)
            # Rows leave from h, which this overwrites; logits have a place of their own.
            first = self.linear(
                placed,
                "embedding",
                model.hidden,
                a=self.act_words(self.input.address, self.input.words),
                a_unsigned=True,
                result=Format.INT16,
                destination=Destination.RES,
                out=self.rows(self.h),
                res=self.rows(self.position),
                add=True,
                wait=waits if self.logits else (*waits, Semaphore.OUTPUT_FREE),
                wait_first=True,
                signal=(Semaphore.SUM_FULL,),
            )
            self.loop(first, self.norm8(model.layers[0].norm1, "layer0.norm1"))
        elif self.pre:
            self.loop(
                self.norm(
                    model.layers[0].norm1,
                    ("layer0.norm1", None),
                    src=self.input.address,
                    x=self.x,
                    wait=waits,
                    wait_first=True,
                    signal=(Semaphore.NORM_FULL,),
                )
            )
        else:
            # The previous result must have left: until then the last layer may be at work on h.
            self.loop(
                self.norm(
                    model.input.norm,
                    ("embedding.norm", "embedding.norm.residual"),
                    src=self.input.address,
                    x=self.x,
                    wait=(*waits, Semaphore.OUTPUT_FREE),
                    wait_first=True,
                    signal=(Semaphore.NORM_FULL,),
                )
            )

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

    def layer(self, index: int) -> None:
        """One encoder layer, and what follows the last."""
        y, model = self.layout, self.model
        layer, p = model.layers[index], f"layer{index}."
        first, last = index == 0, index == len(model.layers) - 1
        residual_input = self.input.kind == "residual" and self.pre
        free = "key_first" if self.patches else None if self.pre else "key_last"
        o = self.attention(layer.attention, p, wait=(Semaphore.NORM_FULL,), input_free=free if first else None)
        from_input = first and residual_input
        self.loop(
            self.residual(
                o,
                f"{p}residual1",
                a=self.act_words(self.q, y.inner_words),
                src=self.input.address if from_input else None,
                # Rows that leave from h must have left before it is overwritten.
                wait=(Semaphore.OUTPUT_FREE,) if from_input and not self.logits else (),
                wait_first=True,
                signal=(Semaphore.SUM_FULL,),
            ),
            self.norm8(
                layer.norm1 if not self.pre else layer.norm2,
                f"{p}norm1" if not self.pre else f"{p}norm2",
                x=self.x_ffn,
                both=not self.pre,
            ),
        )
        up = self.layout.linear(
            layer.ffn.up, bank=layer.ffn.activation.bank if layer.ffn.activation.kind == "table" else None
        )
        self.loop(
            self.activated(
                up,
                layer.ffn.activation,
                f"{p}hidden",
                model.ffn,
                a=self.act_words(self.x_ffn, y.hidden_words),
                out=self.act_beats(self.hidden, y.ffn_words),
                wait=(Semaphore.NORM_FULL,),
                signal=(Semaphore.INPUT_FREE,) if from_input else (),
                signal_when=When.FIRST,
            )
        )
        down = y.linear(layer.ffn.down)

        def sums(signal: Semaphore, when: When = When.ALWAYS) -> Array:
            return self.residual(
                down,
                f"{p}residual2",
                a=self.act_words(self.hidden, y.ffn_words),
                a_unsigned=layer.ffn.activation.unsigned,
                signal=(signal,),
                signal_when=when,
            )

        if not last:
            following = layer.norm2 if not self.pre else model.layers[index + 1].norm1
            name = f"{p}norm2" if not self.pre else f"layer{index + 1}.norm1"
            self.loop(sums(Semaphore.SUM_FULL), self.norm8(following, name, both=not self.pre))
        elif self.logits:
            self.loop(sums(Semaphore.SUM_FULL, When.FIRST))
            norm, name = (layer.norm2, f"{p}norm2") if not self.pre else (model.final_norm, "final_norm")
            self.classifier(norm, name)
        else:
            norm, name = (layer.norm2, f"{p}norm2.residual") if not self.pre else (model.final_norm, "output")
            store = self.store(self.h, y.norm_beats)
            if norm is None:
                self.loop(sums(Semaphore.OUTPUT_FULL), store)
                self.result = f"{p}residual2"
            else:
                self.loop(
                    sums(Semaphore.SUM_FULL),
                    self.norm(
                        norm,
                        (None, name),
                        src=self.h,
                        x=0,
                        wait=(Semaphore.SUM_FULL,),
                        signal=(Semaphore.OUTPUT_FULL,),
                    ),
                    store,
                )
                self.result = name

    def classifier(self, norm: qmodel.Norm, name: str) -> None:
        """Last norm, pooler and classifier on row block 0."""
        y, model = self.layout, self.model
        self.program.append(self.norm8(norm, name, x=self.first_row, first_row=True))
        wait: tuple[Semaphore, ...] = (Semaphore.NORM_FULL,)
        unsigned, pending = False, PENDING_MAX
        if model.pooler is not None:
            activation = model.pooler.activation
            placed = y.linear(model.pooler.linear, bank=activation.bank if activation.kind == "table" else None)
            self.program.append(
                self.activated(
                    placed,
                    activation,
                    "pooler",
                    model.hidden,
                    a=Operand(self.first_row),
                    out=Operand(self.pooled * self.config.word_beats),
                    wait=wait,
                )
            )
            wait, unsigned, pending = (), activation.unsigned, 0
        if self.pre:
            wait += (Semaphore.OUTPUT_FREE,)  # post-norm models have waited for it at the entry
        classes = len(model.classifier.bias)
        self.program.append(
            self.linear(
                y.linear(model.classifier),
                "output",
                classes,
                a=Operand(self.pooled),
                a_unsigned=unsigned,
                result=Format.INT16,
                destination=Destination.RES,
                out=Operand(self.logits_at),
                pending=pending,
                wait=wait,
                signal=(Semaphore.OUTPUT_FULL,),
            )
        )
        self.program.append(self.store(self.logits_at, ceil_div(classes, self.config.drain_columns)))
        self.result = "output"

    def bare_attention(self) -> None:
        """The attention block alone, int8 rows to int16 rows."""
        y = self.layout
        o = self.attention(
            self.model.input.attention, "", wait=(Semaphore.INPUT_FULL,), wait_first=True, input_free="query_last"
        )
        self.loop(
            self.linear(
                o,
                "output",
                self.model.hidden,
                a=self.act_words(self.q, y.inner_words),
                result=Format.INT16,
                destination=Destination.RES,
                out=self.rows(self.h),
                pending=PENDING_ROWS,
                wait=(Semaphore.OUTPUT_FREE,),
                wait_first=True,
                signal=(Semaphore.OUTPUT_FULL,),
            ),
            self.store(self.h, y.norm_beats),
        )
        self.result = "output"

    def build(self) -> Image:
        """The whole program, assembled, with the memory images."""
        if self.operands:
            self.bare_attention()
        else:
            self.entry()
            for index in range(len(self.model.layers)):
                self.layer(index)
        y = self.layout
        assembled = assemble(self.program)
        y.pools["PROG"].place(list(assembled.words))
        y.check_capacity()
        width = len(self.model.classifier.bias) if self.logits else self.model.hidden
        return Image(
            name=self.model.name,
            config=self.config,
            max_tokens=self.model.max_tokens,
            memories={target: tuple(y.pools[target.name].words) for target in Target},
            tags={address: tag for address, tag in assembled.tags.items() if tag is not None},
            input=self.input,
            output=OutputPort(logits=self.logits, beats=ceil_div(width, self.config.drain_columns), width=width),
            result=self.result,
            usage=y.usage(),
            lag=self.lag,
        )


def compile_model(model: QuantModel, config: CoreConfig, *, lag: int | None = None) -> Image:
    """Compile ``model`` for a core of ``config``.

    ``lag``: iterations by which P.V trails its scores, 1 .. min(slots, LAG_MAX); chosen for the fewest predicted cycles
    unless given.

    Raises
    ------
    InputError
        If the model needs a kernel, a memory or a field that the core does not have; the message names it.
    """
    check_model(model, config)
    largest = min(config.slots, LAG_MAX)
    if lag is None:
        lag = min(3, largest)
    if not 1 <= lag <= largest:
        raise InputError(f"lag must lie in 1..{largest} for {config.slots} slots, not {lag}; leave it to the compiler")
    return _Schedule(model, config, lag).build()


def memory_usage(model: QuantModel, config: CoreConfig) -> dict[str, tuple[int, int]]:
    """Words needed and available of each memory, whether or not the model fits."""
    check_model(model, config)
    schedule = _Schedule(model, config, 1)
    schedule.layout.check_capacity = lambda: None
    return dict(schedule.build().usage)
