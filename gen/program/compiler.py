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

from dataclasses import replace
from typing import Literal

from gen.cycles.latencies import Latencies
from gen.cycles.simulation import Simulation
from gen.errors import InputError
from gen.program.assembler import Array, Instruction, Operand, assemble
from gen.program.attention import AttentionSchedule
from gen.program.image import Image, OutputPort
from gen.program.layout import ceil_div
from gen.program.schedule import Update
from gen.program.support import check_model
from gen.program.tensors import Tag
from hw.config import CoreConfig
from hw.program.isa import LAG_MAX, PENDING_MAX, Destination, Format, Semaphore, When
from hw.program.loads import Target
from sim.blocks import Part, beside
from sim.qmodel import (
    Attention,
    Block,
    Classifier,
    FeedForward,
    FirstRow,
    Norm,
    PatchEmbedding,
    Pooler,
    QuantModel,
    Residual,
)

__all__ = ["compile_model", "memory_usage"]


class _Compiler(AttentionSchedule):
    """Turns block after block into instructions.

    Attributes
    ----------
    makers : instructions that make, row block by row block, what the next block reads; they share a loop with its
        first products
    update : the product that makes the last attention's or FFN's update
    stream : where the residual stream is: in the input region, until something writes it to h
    entry : semaphores that the first instruction waits for
    exit : semaphores that the first instruction waits for that may write what the previous STORE still reads
    freed : whether some instruction frees the input region
    row : what the next product on the first row waits for, and how many unfinished products it allows
    row_unsigned : whether that row is uint8
    """

    update: Update
    result: str

    def __init__(self, model: QuantModel, config: CoreConfig):
        super().__init__(model, config)
        self.makers: tuple[Instruction, ...] = ()
        self.stream = self.input.address if model.input.part == Part.STREAM else self.h
        self.entry: tuple[Semaphore, ...] = (Semaphore.INPUT_FULL,)
        self.exit: tuple[Semaphore, ...] = (Semaphore.OUTPUT_FREE,)
        self.freed = False
        self.row: tuple[tuple[Semaphore, ...], int] = (Semaphore.NORM_FULL,), PENDING_MAX
        self.row_unsigned = False

    def take_entry(self) -> tuple[Semaphore, ...]:
        """The entry's semaphores, for the first who asks."""
        waits, self.entry = self.entry, ()
        return waits

    def take_exit(self) -> tuple[Semaphore, ...]:
        """The exit's semaphores, for the first who asks."""
        waits, self.exit = self.exit, ()
        return waits

    def take_exit_of_rows(self) -> tuple[Semaphore, ...]:
        """The same for one who writes h: rows leave from there, but logits have a place of their own."""
        return () if self.logits else self.take_exit()

    def step(self, name: str, block: Block, following: Block | None) -> None:
        """One block; ``following`` is the next."""
        match block:
            case PatchEmbedding():
                self.embedding(name, block)
            case Norm():
                self.norm_step(name, block, following)
            case Attention():
                self.attention_step(name, block, following)
            case FeedForward():
                self.feed_forward(name, block)
            case Residual():
                self.residual(name, following)
            case Pooler():
                self.pooler(name, block)
            case Classifier():
                self.classifier(block)

    def embedding(self, name: str, block: PatchEmbedding) -> None:
        """Patches, each its row of the position table added, to the residual stream."""
        projection = self.linear(
            self.layout.linear(block.linear),
            name,
            self.model.hidden,
            a=self.act_words(self.input.address, self.input.words),
            a_unsigned=True,
            result=Format.INT16,
            destination=Destination.RES,
            out=self.rows(self.h),
        )
        added = replace(
            projection,
            res=self.rows(self.position),
            add=True,
            wait=self.take_entry() + self.take_exit_of_rows(),
            wait_when=When.FIRST,
            signal=(Semaphore.SUM_FULL,),
        )
        self.makers = (added,)

    def norm_step(self, name: str, block: Norm, following: Block | None) -> None:
        """A norm of the stream: to operands if something reads them, to h if something reads that."""
        narrow, wide = bool(self.model.readers(name)), block.stream and self.model.stream_is_read(name)
        first_row = isinstance(following, Pooler | Classifier)
        places = {Attention: self.x, FeedForward: self.x_ffn}
        made = self.norm(
            block,
            (name if narrow else None, f"{name}.residual" if wide else None),
            src=self.stream,
            x=self.first_row if first_row else places.get(type(following), 0),
            first_row=first_row,
        )
        if waits := self.take_entry():
            # The previous result must have left: until then the last layer may be at work on h.
            made = replace(made, wait=waits + (self.take_exit() if wide else ()), wait_when=When.FIRST)
        else:
            made = replace(made, wait=(Semaphore.SUM_FULL,))
        made = replace(made, signal=(Semaphore.OUTPUT_FULL if following is None else Semaphore.NORM_FULL,))
        if wide:
            self.stream = self.h
        if first_row:
            self.program.append(made)
        elif following is None:
            self.rows_out(f"{name}.residual", made)
        else:
            self.makers += (made,)

    def attention_step(self, name: str, block: Attention, following: Block | None) -> None:
        """Attention, and where nothing follows, its update as the result."""
        entry = self.take_entry()
        # The input region's last readers: queries where it holds the operand; else makers, which run with the keys,
        # unless a sum will read the stream there.
        frees: Literal["keys", "queries"] = "queries" if self.model.input.part == Part.OPERAND else "keys"
        later = self.freed or self.stream != self.h
        self.update = self.attention(
            name,
            block,
            makers=self.makers,
            wait=entry or (Semaphore.NORM_FULL,),
            wait_when=When.FIRST if entry else When.ALWAYS,
            input_free=None if later else frees,
        )
        self.freed = self.freed or not later
        self.makers = ()
        if following is None:
            product = self.to_stream(self.update, "output")
            product = replace(product, wait=self.take_exit(), wait_when=When.FIRST, signal=(Semaphore.OUTPUT_FULL,))
            self.rows_out("output", product)

    def feed_forward(self, name: str, block: FeedForward) -> None:
        """The first product, with the activation; the second is the update."""
        y = self.layout
        up = self.activated(
            block.up,
            block.activation,
            beside(name, "hidden"),
            self.model.ffn,
            a=self.act_words(self.x_ffn, y.hidden_words),
            out=self.act_beats(self.hidden, y.ffn_words),
        )
        frees = () if self.freed else (Semaphore.INPUT_FREE,)
        self.freed = True
        self.rows_loop(self.makers, replace(up, wait=(Semaphore.NORM_FULL,), signal=frees, signal_when=When.LAST))
        self.makers = ()
        self.update = Update(
            placed=y.linear(block.down),
            a=self.act_words(self.hidden, y.ffn_words),
            a_unsigned=block.activation.unsigned,
        )

    def residual(self, name: str, following: Block | None) -> None:
        """The update's product, added to the stream."""
        total = replace(
            self.to_stream(self.update, name),
            res=self.rows(self.stream),
            add=True,
            wait=self.take_exit_of_rows(),
            wait_when=self.update.wait_when,
            signal=(Semaphore.OUTPUT_FULL if following is None else Semaphore.SUM_FULL,),
        )
        self.stream = self.h
        if following is None:
            self.rows_out(name, total)
        elif isinstance(following, FirstRow):
            self.loop(replace(total, signal_when=When.FIRST))
        else:
            self.makers = (total,)

    def rows_out(self, name: str, last: Instruction) -> None:
        """The loop whose ``last`` instruction makes the result, the rows ``name``, and their way out."""
        self.loop(*self.makers, last, self.store(self.h, self.layout.norm_beats))
        self.result = name

    def pooler(self, name: str, block: Pooler) -> None:
        """The pooler on row block 0."""
        wait, _ = self.row
        pooled = self.activated(
            block.linear,
            block.activation,
            name,
            self.model.hidden,
            a=Operand(self.first_row),
            out=Operand(self.pooled * self.config.word_beats),
        )
        self.program.append(replace(pooled, wait=wait))
        self.row, self.row_unsigned = ((), 0), block.activation.unsigned

    def classifier(self, block: Classifier) -> None:
        """The classifier on row block 0, and the logits' way out."""
        wait, pending = self.row
        classes = self.model.classes
        logits: Array = self.linear(
            self.layout.linear(block.linear),
            "output",
            classes,
            a=Operand(self.pooled),
            a_unsigned=self.row_unsigned,
            result=Format.INT16,
            destination=Destination.RES,
            out=Operand(self.logits_at),
        )
        wait += self.take_exit()
        self.program.append(replace(logits, pending=pending, wait=wait, signal=(Semaphore.OUTPUT_FULL,)))
        self.program.append(self.store(self.logits_at, ceil_div(classes, self.config.drain_columns)))
        self.result = "output"

    def build(self, *, check: bool = True) -> Image:
        """The whole program, assembled, with the memory images; ``check``: refuse what does not fit."""
        following = [block for _, block in self.steps[1:]]
        for (name, block), behind in zip(self.steps, [*following, None], strict=True):
            self.step(name, block, behind)
        y = self.layout
        assembled = assemble(self.program)
        y.pools["PROG"].place(list(assembled.words))
        y.pools["REGION"].place([self.input.region(self.config, self.model.max_tokens)])
        if check:
            y.check_capacity()
        width = self.model.classes or self.model.hidden
        return Image(
            name=self.model.name,
            config=self.config,
            max_tokens=self.model.max_tokens,
            memories={target: tuple(y.pools[target.name].words) for target in Target},
            tags={address: tag for address, tag in assembled.tags.items() if isinstance(tag, Tag)},
            input=self.input,
            output=OutputPort(logits=self.logits, beats=ceil_div(width, self.config.drain_columns), width=width),
            result=self.result,
            usage=y.usage(),
            lag=self.lag,
        )


def _attention_cycles(schedule: AttentionSchedule, lag: int) -> int:
    """Predicted cycles of one layer's attention pipeline."""
    program = assemble([schedule.attention_loop("", 0, lag)]).words
    config = schedule.config
    run = Simulation(program, config, schedule.model.max_tokens, Latencies.of(config))
    run.go()
    return max(operation.end for operation in run.operations)


def compile_model(model: QuantModel, config: CoreConfig, *, lag: int | None = None) -> Image:
    """Compile ``model`` for a core of ``config``.

    ``lag``: iterations by which P.V trails its scores, 1 .. min(slots, LAG_MAX); unless given, the one for which the
    cycle model predicts the fewest cycles.

    Raises
    ------
    InputError
        If the model needs a kernel, a memory or a field that the core does not have; the message names it.
    """
    check_model(model, config)
    lags = range(min(config.slots, LAG_MAX), 0, -1)  # ties go to the larger: it leaves softmax more time
    if lag is not None and lag not in lags:
        raise InputError(f"lag must lie in 1..{lags[0]}, not {lag}; leave it to the compiler")
    compiler = _Compiler(model, config)
    compiler.lag = lag or min(lags, key=lambda each: _attention_cycles(compiler, each))
    return compiler.build()


def memory_usage(model: QuantModel, config: CoreConfig) -> dict[str, tuple[int, int]]:
    """Words needed and available of each memory, whether or not the model fits."""
    check_model(model, config)
    return dict(_Compiler(model, config).build(check=False).usage)
