# SPDX-License-Identifier: Apache-2.0
"""The latencies that the cycle model counts with, all read from the components that have them."""

from __future__ import annotations

from dataclasses import dataclass

from hw.array.feeder import Feeder
from hw.config import CoreConfig
from hw.drain.drain import Drain
from hw.io.loader import Loader
from hw.io.store import BUFFERED, StoreEngine
from hw.norm import results
from hw.norm.layernorm import NormEngine
from hw.program.dispatch import QUEUE_DEPTH, CommandQueue
from hw.program.semaphores import DONE_LATENCY, ENGINE_SIGNAL_LATENCY, TAKE_LATENCY, CommandGate
from hw.program.sequencer import Sequencer
from hw.softmax.softmax import SoftmaxEngine

__all__ = ["Latencies"]


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Cycles, and entries of buffers. The component that each comes from says more."""

    # Sequencer
    redirect: int
    """From a redirection of the fetch to the next word."""
    restart: int
    """From an END to the first word of the next pass."""
    dispatch: int
    """From an instruction's last word to the queue's output."""
    queue: int
    """Commands of each queue."""
    credit: int
    """From a command's leaving its queue until the sequencer sees the room."""
    # Gates and semaphores
    signal: int
    """From an engine's signal until a gate sees it."""
    take: int
    """From a gate's take until it sees it."""
    grant: int
    """From the cycle in which a command may pass to that in which it does."""
    passing: int
    """From a command's passing until the engine sees it."""
    done: int
    """From an ARRAY command's last write until the gate no longer counts it."""
    # Array
    feed: int
    """From a command's being taken to the first cycle of its first tile."""
    to_beat: int
    """From an operand address to beat 0 of its tile before the requantisers."""
    to_write: int
    """From an operand address to the write of beat 0 of its tile."""
    to_residual: int
    """From beat 0 to its residual's read."""
    to_score_signal: int
    """From the last beat of scores to their signal."""
    # Softmax
    softmax: int
    """From the last beat to the signal."""
    # LayerNorm
    norm_hand_over: int
    """From the last read for a command's sums to their hand-over."""
    norm_statistics: int
    """From there to the first read of the output pass."""
    norm_written: int
    """From a read of the output pass to the write."""
    norm_gap: int
    """From the last read of an output pass to the next hand-over."""
    norm_signal: int
    """From the last write to the signal."""
    norm_results: int
    """Results that may be under way."""
    # STORE
    store: int
    """From a read to the stream."""
    store_beats: int
    """Beats that may be under way."""
    # Loader
    load_header: int
    """From an input's header to the take of its region."""
    load_signal: int
    """From an input's last word to the signal."""

    @classmethod
    def of(cls, config: CoreConfig) -> Latencies:
        """Those of a core of ``config``."""
        return cls(
            redirect=Sequencer.REDIRECT_LATENCY,
            restart=Sequencer.RESTART_LATENCY,
            dispatch=Sequencer.DISPATCH_LATENCY,
            queue=QUEUE_DEPTH,
            credit=CommandQueue.CREDIT_LATENCY,
            signal=ENGINE_SIGNAL_LATENCY,
            take=TAKE_LATENCY,
            grant=CommandGate.GRANT_LATENCY,
            passing=CommandGate.LATENCY,
            done=DONE_LATENCY,
            feed=Feeder.LATENCY,
            to_beat=Drain.beat_latency(config),
            to_write=Drain.write_latency(config),
            to_residual=Drain.RESIDUAL,
            to_score_signal=Drain.score_signal_latency(config),
            softmax=SoftmaxEngine.latency(config),
            norm_hand_over=NormEngine.hand_over(config),
            norm_statistics=NormEngine.statistics_latency(config),
            norm_written=NormEngine.WRITTEN,
            norm_gap=NormEngine.GAP,
            norm_signal=NormEngine.SIGNAL_LATENCY,
            norm_results=results.QUEUE_DEPTH - results.FREE_LATENCY,
            store=StoreEngine.LATENCY,
            store_beats=BUFFERED,
            load_header=Loader.HEADER_LATENCY,
            load_signal=Loader.SIGNAL_LATENCY,
        )
