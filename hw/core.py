# SPDX-License-Identifier: SHL-2.1
"""The composed accelerator: memories, engines, sequencer and streams."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .array.drain import Drain
from .array.feeder import Feeder
from .array.kvwrite import KeyValueWriter
from .array.pe_array import PEArray
from .config import CoreConfig
from .io.loader import LOAD_ERRORS, Loader
from .io.passes import PassGuard
from .io.store import StoreEngine
from .io.targets import load_crc, stream_units
from .memories import CORE_MEMORIES
from .memory import READ_LATENCY, TensorMemory
from .norm.layernorm import NormEngine
from .program.commands import ArrayCommand, NormCommand, SoftmaxCommand, StoreCommand
from .program.isa import PENDING_MAX, SEMAPHORE_INITIAL, SEMAPHORES, TOKEN_BITS, Format
from .program.loads import Target
from .program.semaphores import CommandGate, SemaphoreBank
from .program.sequencer import Sequencer
from .softmax.softmax import SoftmaxEngine

__all__ = ["TransformerCore", "BUSY_BITS", "ERRORS"]

BUSY_BITS = ("sequencer", "feeder", "drain", "softmax", "norm", "store", "loader", "macs")
"""Meaning of each bit of the core's ``busy`` output; "macs" is high in cycles that feed the array."""

ERRORS = LOAD_ERRORS | {
    "length": "a pass was asked for with seq_len outside 1 .. the program's longest sequence, or with another one than "
    "that of the passes in flight: not begun",
}
"""Meaning of each bit of the core's ``errors`` output, from bit 0."""


class TransformerCore(wiring.Component):
    """An integer transformer encoder that runs a program from start to result by itself.

    Everything a model needs (weights, constants, program) is either the memories' initial contents (``images``) or
    arrives as load packets on ``s_axis`` at run time; inputs arrive the same way, results leave on ``m_axis``.

    Parameters
    ----------
    config : CoreConfig
    images : dict of Target to list of int
        Initial words of the memories (bytes for TABLE where gelu = "table").

    Ports
    -----
    run : start a pass of the program when the previous has ended; a pass waits for its input. Held high, the next pass
        starts by itself: pulse it where lengths vary
    seq_len : tokens of the inputs, best from two cycles before ``run`` on; see :class:`hw.io.passes.PassGuard`
    s_axis_*, m_axis_* : 64-bit AXI4-Streams
    busy : see BUSY_BITS
    frames_done : results that have left, modulo 2^32
    errors : see ERRORS; each stays until it is cleared, or reset
    clear_errors : errors to clear
    model_written : a load packet that is no input begins; one cycle
    load_crc, clear_crc : CRC-32 of all such packets, and to begin it anew; see :class:`hw.io.loader.Loader`. At
        power-up that of the packets that would load ``images``
    """

    def __init__(self, config: CoreConfig, images: dict[Target, list[int]] | None = None):
        self.config = config
        self.images = dict(images or {})
        super().__init__(
            {
                "run": In(1),
                "seq_len": In(TOKEN_BITS),
                "s_axis_tdata": In(64),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(64),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
                "busy": Out(len(BUSY_BITS)),
                "frames_done": Out(32),
                "errors": Out(len(ERRORS)),
                "clear_errors": In(len(ERRORS)),
                "model_written": Out(1),
                "load_crc": Out(32),
                "clear_crc": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        rows, lanes = config.rows, config.lanes

        # --- memories
        memories: dict[str, TensorMemory] = {}
        for memory in CORE_MEMORIES:
            shape = memory.geometry(config)
            m.submodules[memory.instance] = memories[memory.name] = TensorMemory(
                depth=shape.words,
                lanes=shape.lanes,
                granularity=shape.granularity,
                used=memory.used,
                dense=config.dense,
                init=self.images.get(memory.target, []),
            )

        # --- sequencer, gates and semaphores
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.guard = guard = PassGuard(config)
        lengths = guard.lengths
        m.d.comb += [
            guard.run.eq(self.run),
            guard.seq_len.eq(self.seq_len),
            guard.dispatching.eq(sequencer.busy),
            sequencer.run.eq(guard.begun),
            sequencer.lengths.eq(lengths),
            memories["PROG"].r_addr.eq(sequencer.prog_addr),
            sequencer.prog_data.eq(memories["PROG"].r_data),
        ]
        counts = SEMAPHORE_INITIAL(config.slots)
        initial = [counts.get(bit, 0) for bit in range(SEMAPHORES)]
        m.submodules.semaphores = semaphores = SemaphoreBank(initial=initial, signallers=6, takers=5)
        gates = {}
        for number, (name, shape) in enumerate(
            (("array", ArrayCommand), ("softmax", SoftmaxCommand), ("norm", NormCommand), ("store", StoreCommand))
        ):
            m.submodules[f"gate_{name}"] = gate = CommandGate(shape=shape, semaphores=SEMAPHORES)
            wiring.connect(m, getattr(sequencer, name), gate.i)
            m.d.comb += [gate.positive.eq(semaphores.positive), semaphores.take[number].eq(gate.take)]
            if name != "array":
                m.d.comb += gate.allow.eq(1)
            gates[name] = gate

        # --- array: feeder, operands, PEs, drain
        m.submodules.feeder = feeder = Feeder(config)
        m.submodules.pe_array = pe_array = PEArray(config)
        m.submodules.drain = drain = Drain(config, tables=self.images.get(Target.TABLE))
        wiring.connect(m, gates["array"].o, feeder.command)
        in_flight = Signal(4)  # ARRAY commands past the gate whose last result is still to be written
        m.d.sync += in_flight.eq(in_flight + gates["array"].passed - drain.done)
        pending = gates["array"].i.payload.pending
        m.d.comb += gates["array"].allow.eq(in_flight <= Mux(pending > PENDING_MAX, PENDING_MAX, pending))
        tag = feeder.tag
        for stage in range(READ_LATENCY):
            delayed = Signal.like(tag, name=f"operand_tag{stage}")
            m.d.sync += delayed.eq(tag)
            tag = delayed
        a_word = Signal(config.rows * config.depth * 8, reset_less=True)
        b_word = Signal(config.cols * config.depth * 8, reset_less=True)
        control = Signal.like(tag, name="operand_control")
        m.d.sync += [
            a_word.eq(Mux(tag.prob, memories["PROB"].r_data, memories["ACT"].r_data)),
            b_word.eq(Mux(tag.kv, memories["KV"].r_data, memories["W"].r_data)),
            control.eq(tag),
        ]
        for name in ("ACT", "PROB"):
            m.d.comb += memories[name].r_addr.eq(feeder.a_addr)
        for name in ("KV", "W"):
            m.d.comb += memories[name].r_addr.eq(feeder.b_addr)
        m.d.comb += [
            pe_array.a.eq(a_word),
            pe_array.b.eq(b_word),
            pe_array.a_unsigned.eq(control.a_unsigned),
            pe_array.valid.eq(control.valid),
            pe_array.first.eq(control.first),
            drain.tag.eq(feeder.tag),
            drain.context.eq(feeder.context),
            drain.context_valid.eq(feeder.context_valid),
            drain.tokens.eq(lengths.tokens),
            drain.acc.eq(pe_array.acc),
            memories["CHAN"].r_addr.eq(drain.chan_addr),
            drain.chan_data.eq(memories["CHAN"].r_data),
        ]

        # --- softmax
        m.submodules.softmax = softmax = SoftmaxEngine(config)
        wiring.connect(m, gates["softmax"].o, softmax.command)
        score, prob = memories["SCORE"], memories["PROB"]
        beat_bits = ceil_log2(config.word_beats)
        m.d.comb += [
            softmax.lengths.eq(lengths),
            score.w_en.eq(drain.score_valid),
            score.w_addr.eq(drain.score_addr),
            score.w_data.eq(drain.score_data),
            score.r_addr.eq(softmax.score_addr),
            softmax.score_data.eq(score.r_data),
            drain.row_max_slot.eq(softmax.row_max_slot),
            softmax.row_max.eq(drain.row_max),
            memories["HEAD"].r_addr.eq(softmax.head_addr),
            softmax.head_data.eq(memories["HEAD"].r_data),
            prob.w_addr.eq(softmax.prob_addr[beat_bits:]),
            prob.w_data.eq(softmax.prob_data.as_value().replicate(config.word_beats)),
            prob.w_en.eq(softmax.prob_valid << softmax.prob_addr[:beat_bits]),
            drain.scale_valid.eq(softmax.scale_valid),
            drain.scale_slot.eq(softmax.scale_slot),
            drain.scale_row.eq(softmax.scale_row),
            drain.scale_mult.eq(softmax.scale_mult),
            drain.scale_shift.eq(softmax.scale_shift),
        ]

        # --- norm and store; the drain's reads of RES come first, then norm's, then store's
        m.submodules.norm = norm = NormEngine(config)
        m.submodules.store = store = StoreEngine(config)
        wiring.connect(m, gates["norm"].o, norm.command)
        wiring.connect(m, gates["store"].o, store.command)
        res = memories["RES"]
        m.d.sync += res.r_addr.eq(
            Mux(drain.res_valid, drain.res_addr, Mux(norm.res_read_valid, norm.res_read_addr, store.res_addr))
        )
        m.d.sync += store.res_ready.eq(~drain.res_next & ~norm.res_read_next)  # known a cycle ahead: it goes far
        m.d.comb += [
            norm.res_read_ready.eq(~drain.res_valid),
            drain.res_data.eq(res.r_data),
            norm.res_read_data.eq(res.r_data),
            store.res_data.eq(res.r_data),
            memories["NORM"].r_addr.eq(norm.norm_addr),
            norm.norm_data.eq(memories["NORM"].r_data),
            self.m_axis_tdata.eq(store.o.payload.data),
            self.m_axis_tlast.eq(store.o.payload.last),
            self.m_axis_tvalid.eq(store.o.valid),
            store.o.ready.eq(self.m_axis_tready),
        ]

        # --- loader
        m.submodules.loader = loader = Loader(
            semaphores=SEMAPHORES,
            units=stream_units(config),
            rows=rows,
            region=next(iter(self.images.get(Target.REGION, ())), 0),
            crc=load_crc(config, self.images),
        )
        m.d.comb += [
            loader.begun.eq(guard.begun),
            loader.row_blocks.eq(lengths.row_blocks),
            loader.clear_crc.eq(self.clear_crc),
            guard.tokens.eq(loader.tokens),
            self.model_written.eq(loader.written),
            self.load_crc.eq(loader.crc),
            loader.i.payload.eq(self.s_axis_tdata),
            loader.i.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(loader.i.ready),
            loader.positive.eq(semaphores.positive),
            semaphores.take[4].eq(loader.take),
        ]

        # --- writes: drain before norm before loader
        is_act, is_res = drain.write_to.act, drain.write_to.res
        act_free, res_free = Signal(), Signal()
        m.d.comb += [
            norm.act_ready.eq(~is_act),
            norm.res_ready.eq(~is_res),
            act_free.eq(~is_act & ~norm.act_valid),
            res_free.eq(~is_res & ~norm.res_valid),
        ]
        load = self._load_ports(m, loader, memories)
        act = memories["ACT"]
        beat_addr, beat_data, beat_en = Signal(20), Signal(lanes * 8), Signal()
        m.d.comb += [
            beat_addr.eq(Mux(is_act, drain.write.out, norm.act_addr)),
            beat_data.eq(Mux(is_act, drain.write_beat.as_value(), norm.act_data)),
            beat_en.eq(is_act | norm.act_valid),
            loader.ready.eq(Mux(loader.target == Target.ACT, act_free, Mux(loader.target == Target.RES, res_free, 1))),
        ]
        beat_lanes = Signal(config.word_beats)
        m.d.comb += beat_lanes.eq(beat_en << beat_addr[:beat_bits])
        per_beat = act.lanes // config.word_beats
        m.d.comb += [
            act.w_addr.eq(Mux(beat_en, beat_addr[beat_bits:], load["ACT"][0])),
            act.w_data.eq(Mux(beat_en, beat_data.replicate(config.word_beats), load["ACT"][2])),
            act.w_en.eq(
                Mux(
                    beat_en,
                    Cat(bit.replicate(per_beat) for bit in beat_lanes),
                    Mux(act_free, load["ACT"][1], 0),
                )
            ),
        ]
        res_beat = is_res | norm.res_valid
        m.d.comb += [
            res.w_addr.eq(Mux(is_res, drain.write.out, Mux(norm.res_valid, norm.res_addr, load["RES"][0]))),
            res.w_data.eq(Mux(is_res, drain.write_res.as_value(), Mux(norm.res_valid, norm.res_data, load["RES"][2]))),
            res.w_en.eq(Mux(res_beat, (1 << res.lanes) - 1, load["RES"][1])),
        ]
        for name in ("W", "CHAN", "NORM", "HEAD", "PROG"):
            m.d.comb += [
                memories[name].w_addr.eq(load[name][0]),
                memories[name].w_en.eq(load[name][1]),
                memories[name].w_data.eq(load[name][2]),
            ]
        m.d.comb += [
            drain.table_en.eq(loader.valid & (loader.target == Target.TABLE)),
            drain.table_addr.eq(loader.addr),
            drain.table_data.eq(loader.data),
        ]

        # --- K and V
        m.submodules.kv_writer = kv_writer = KeyValueWriter(config)
        m.d.comb += [
            kv_writer.control.eq(drain.write),
            kv_writer.to.eq(drain.write_to),
            kv_writer.beat.eq(drain.write_beat),
            memories["KV"].w_en.eq(kv_writer.en),
            memories["KV"].w_addr.eq(kv_writer.addr),
            memories["KV"].w_data.eq(kv_writer.data),
        ]

        # --- semaphores, counters, observation
        for number, source in enumerate((drain.signal[0], drain.signal[1], softmax.signal, norm.signal, loader.signal)):
            m.d.sync += semaphores.signal[number].eq(source)
        m.d.comb += semaphores.signal[5].eq(store.signal)  # it comes from a register
        with m.If(store.frame):
            m.d.sync += self.frames_done.eq(self.frames_done + 1)
        m.d.sync += self.errors.eq(Cat(loader.errors, guard.refused) | (self.errors & ~self.clear_errors))
        m.d.comb += guard.ended.eq(store.frame)
        m.d.sync += guard.at_work.eq(Cat(feeder.busy, drain.busy, softmax.busy, norm.busy, store.busy).any())
        m.d.sync += self.busy.eq(
            Cat(
                sequencer.busy,
                feeder.busy,
                drain.busy,
                softmax.busy,
                norm.busy,
                store.busy,
                loader.busy,
                feeder.tag.valid,
            )
        )
        scores = Signal(data.ArrayLayout(signed(32), lanes))
        results = Signal(data.ArrayLayout(signed(16), lanes))
        has_sign = drain.write.result == Format.INT8
        if config.gelu == "ibert":
            has_sign |= drain.write.result == Format.ACTIVATION
        for lane in range(lanes):
            byte = drain.write_beat[lane]
            m.d.comb += [
                scores[lane].eq(drain.score_data[lane]),
                results[lane].eq(Mux(is_res, drain.write_res[lane], Mux(has_sign, byte.as_signed(), byte))),
            ]
        self._probe(m, "drain", drain.write.valid, results)
        self._probe(m, "score", drain.score_valid, scores)
        self._probe(m, "softmax", softmax.prob_valid, softmax.prob_data)
        self._probe(m, "norm8", norm.act_valid & norm.act_ready, norm.act_data)
        self._probe(m, "norm16", norm.res_valid & norm.res_ready, norm.res_data)
        return m

    @staticmethod
    def _probe(m, name, valid, value):
        """A stream of results that simulators log by name; nothing reads it, so synthesis removes it."""
        value = Value.cast(value)
        m.d.comb += [
            Signal(name=f"probe_{name}_valid").eq(valid),
            Signal(len(value), name=f"probe_{name}_data").eq(value),
        ]

    def _load_ports(self, m, loader, memories):
        """For each loadable memory: word address, write enables and data of the loader's present write."""
        ports = {}
        for memory in CORE_MEMORIES:
            if not memory.target:
                continue
            mem = memories[memory.name]
            width = mem.lanes * mem.granularity
            parts = max(width // 64, 1)  # 64-bit units in a word
            part_bits = ceil_log2(parts)
            chosen = loader.valid & (loader.target == memory.target)
            per_part = mem.lanes // parts
            enables = Cat((chosen & (loader.addr[:part_bits] == part)).replicate(per_part) for part in range(parts))
            ports[memory.name] = loader.addr[part_bits:], enables, loader.data[: min(width, 64)].replicate(parts)
        return ports
