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

from collections.abc import Callable

from gen.cycles.latencies import Latencies
from gen.cycles.simulation import Simulation
from gen.errors import InputError
from gen.program.assembler import Array, Instruction, Operand, assemble
from gen.program.attention import AttentionSchedule
from gen.program.image import Image, OutputPort
from gen.program.layout import ceil_div, check_model
from hw.config import CoreConfig
from hw.program.isa import LAG_MAX, PENDING_MAX, PENDING_ROWS, Destination, Format, Semaphore, Target, When
from sim import qmodel
from sim.qmodel import QuantModel

__all__ = ["compile_model", "memory_usage"]


class _Compiler(AttentionSchedule):
    """The parts of a model, in the order in which they run."""

    def entry(self) -> tuple[Instruction, ...]:
        """What makes the first layer's operands x (and residual rows h) of the input."""
        y, model = self.layout, self.model
        waits = (Semaphore.INPUT_FULL,)
        if self.patches:
            embedding = self.linear(
                y.linear(model.input.linear),
                "embedding",
                model.hidden,
                a=self.act_words(self.input.address, self.input.words),
                a_unsigned=True,
                result=Format.INT16,
                destination=Destination.RES,
                out=self.rows(self.h),
                res=self.rows(self.position),
                add=True,
                # Rows leave from h, which this overwrites; logits have a place of their own.
                wait=waits if self.logits else (*waits, Semaphore.OUTPUT_FREE),
                wait_first=True,
                signal=(Semaphore.SUM_FULL,),
            )
            return embedding, self.norm8(model.layers[0].norm1, "layer0.norm1")
        common = {"src": self.input.address, "x": self.x, "wait_first": True, "signal": (Semaphore.NORM_FULL,)}
        if self.pre:
            return (self.norm(model.layers[0].norm1, ("layer0.norm1", None), wait=waits, **common),)
        # The previous result must have left: until then the last layer may be at work on h.
        names = ("embedding.norm", "embedding.norm.residual")
        return (self.norm(model.input.norm, names, wait=(*waits, Semaphore.OUTPUT_FREE), **common),)

    def layer(self, index: int, makers: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
        """One encoder layer on the rows of ``makers``; returns what makes those of the next layer."""
        y, model = self.layout, self.model
        layer, p = model.layers[index], f"layer{index}."
        rows_enter = index == 0 and self.input.kind == "residual"
        from_input = rows_enter and self.pre  # the residual stream is still in the input region
        o = self.attention(
            layer.attention,
            p,
            makers=makers,
            wait=(Semaphore.NORM_FULL,),
            input_free="keys" if index == 0 and not from_input else None,
        )
        sums = self.residual(
            o,
            f"{p}residual1",
            a=self.act_words(self.q, y.inner_words),
            src=self.input.address if from_input else None,
            # Rows that leave from h must have left before it is overwritten.
            wait=(Semaphore.OUTPUT_FREE,) if from_input and not self.logits else (),
            wait_first=True,
            signal=(Semaphore.SUM_FULL,),
        )
        norm, name = (layer.norm2, f"{p}norm2") if self.pre else (layer.norm1, f"{p}norm1")
        activation = layer.ffn.activation
        up = y.linear(layer.ffn.up, bank=activation.bank if activation.kind == "table" else None)
        self.rows_loop(
            (sums, self.norm8(norm, name, x=self.x_ffn, both=not self.pre)),
            self.activated(
                up,
                activation,
                f"{p}hidden",
                model.ffn,
                a=self.act_words(self.x_ffn, y.hidden_words),
                out=self.act_beats(self.hidden, y.ffn_words),
                wait=(Semaphore.NORM_FULL,),
                signal=(Semaphore.INPUT_FREE,) if from_input else (),
                signal_when=When.LAST,
            ),
        )
        down = y.linear(layer.ffn.down)

        def total(signal: Semaphore, when: When = When.ALWAYS) -> Array:
            return self.residual(
                down,
                f"{p}residual2",
                a=self.act_words(self.hidden, y.ffn_words),
                a_unsigned=activation.unsigned,
                signal=(signal,),
                signal_when=when,
            )

        if index + 1 < len(model.layers):
            norm, name = (model.layers[index + 1].norm1, f"layer{index + 1}.norm1")
            if not self.pre:
                norm, name = layer.norm2, f"{p}norm2"
            return total(Semaphore.SUM_FULL), self.norm8(norm, name, both=not self.pre)
        norm, name = (model.final_norm, "final_norm") if self.pre else (layer.norm2, f"{p}norm2")
        if self.logits:
            self.loop(total(Semaphore.SUM_FULL, When.FIRST))
            self.classifier(norm, name)
        else:
            self.result_rows(norm, f"{p}norm2.residual" if not self.pre else "output", f"{p}residual2", total)
        return ()

    def result_rows(
        self, norm: qmodel.Norm | None, normed: str, summed: str, total: Callable[[Semaphore], Array]
    ) -> None:
        """The last sums, their norm if there is one, and their way out."""
        store = self.store(self.h, self.layout.norm_beats)
        if norm is None:
            self.loop(total(Semaphore.OUTPUT_FULL), store)
            self.result = summed
            return
        wide = self.norm(
            norm,
            (None, normed),
            src=self.h,
            x=0,
            wait=(Semaphore.SUM_FULL,),
            signal=(Semaphore.OUTPUT_FULL,),
        )
        self.loop(total(Semaphore.SUM_FULL), wide, store)
        self.result = normed

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
            self.model.input.attention, "", wait=(Semaphore.INPUT_FULL,), wait_first=True, input_free="queries"
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

    def build(self, *, check: bool = True) -> Image:
        """The whole program, assembled, with the memory images; ``check``: refuse what does not fit."""
        if self.operands:
            self.bare_attention()
        else:
            makers = self.entry()
            for index in range(len(self.model.layers)):
                makers = self.layer(index, makers)
        y = self.layout
        assembled = assemble(self.program)
        y.pools["PROG"].place(list(assembled.words))
        y.pools["REGION"].place([self.input.region(self.config, self.model.max_tokens)])
        if check:
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
