# SPDX-License-Identifier: Apache-2.0
"""The fast simulator: a whole core in native code, clocked in C++, with NumPy arrays going in and out.

::

    sim = FastSim(to_verilog(core))
    sim.load(image_words)                       # 64-bit words into s_axis, until all are taken
    sim.set(run=1, seq_len=17)
    logits = sim.collect(5).data                # five words of m_axis
    print(sim.cycle, sim.timeline(), sim.frames())

A core has the ports ``clk``, ``rst``, ``run``, ``seq_len``, ``s_axis_t{data,valid,ready}``,
``m_axis_t{data,valid,ready,last}``, ``busy``, ``frames_done``, ``errors``, ``clear_errors``, ``model_written``,
``load_crc`` and ``clear_crc``. If its top module has signals ``probe_x_valid`` and
``probe_x_data``, ``FastSim(..., trace=["x"])`` logs the data of every valid cycle. Such a probe costs no hardware and
needs no port: in Amaranth, named signals that are driven in the top module, ::

    m.d.comb += [Signal(name="probe_x_valid").eq(unit.valid), Signal(32, name="probe_x_data").eq(unit.result)]
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sim.fast import library
from sim.native import Native

__all__ = ["Deadlock", "FastSim", "Outputs", "Progress", "Timeout"]

_CHUNK_S = 0.1  # between two looks at Ctrl-C and at the progress callback


class Deadlock(RuntimeError):
    """Nothing has happened for ``idle_limit`` cycles while something was waited for."""


class Timeout(RuntimeError):
    """What was waited for has not happened within the cycles allowed."""


class Outputs(NamedTuple):
    """Words of the output stream."""

    data: npt.NDArray[np.uint64]
    cycle: npt.NDArray[np.uint64]
    """Number of the clock edge that transferred each word, counted from reset."""
    last: npt.NDArray[np.bool_]
    """``m_axis_tlast``."""


class Progress(NamedTuple):
    """What the progress callback is told, about ten times a second."""

    cycle: int
    cycles_per_second: float
    pending: int
    """Input words still to be taken."""
    outputs: int
    frames_done: int


class FastSim(Native):
    """One simulated core, reset and ready.

    Parameters
    ----------
    verilog : str
        As :func:`hw.verilog.to_verilog` emits it. The build is cached by its hash.
    top : str
        Name of the core's module.
    trace : iterable of str
        Probes to log, see :meth:`trace`.
    waves : Path
        Write every signal at every clock edge into this FST file (a separate, much slower build).
    idle_limit : int
        Cycles without any event (a word in or out, a change of ``busy`` or ``frames_done``, a probe) that count as a
        deadlock while something is waited for. The longest single command must be shorter.
    progress : callable
        Called with a :class:`Progress` while simulating.
    building : callable
        Told, in a word, what the build is doing; not called when it is cached.

    Raises
    ------
    ValueError
        If the ports are not those of a core, or a probe is unknown.
    sim.verilate.BuildFailed, sim.verilate.ToolMissing
        If the library cannot be built.
    OSError
        If the wave file cannot be written.
    """

    def __init__(
        self,
        verilog: str,
        *,
        top: str = "top",
        trace: Iterable[str] = (),
        waves: Path | None = None,
        idle_limit: int = 1_000_000,
        progress: Callable[[Progress], None] | None = None,
        building: Callable[[str], None] | None = None,
    ):
        self._handle = None
        loaded = library.load(verilog, top=top, waves=waves is not None, progress=building)
        self._c, self.probes = loaded.functions, {probe.name: probe for probe in loaded.probes}
        self._logs = {name: 2 + i for i, name in enumerate(self.probes)}
        self._waves, self._partial = waves, f"{waves}.part" if waves else ""
        if waves:
            Path(self._partial).touch()  # a path that cannot be written is an OSError, here
        self._handle = self._c.fast_create(self._partial.encode())
        self._state: library.State = self._c.fast_state(self._handle).contents
        self._state.idle_limit = idle_limit
        self._progress = progress
        self._chunk = 1000
        self._read = 0
        for name in trace:
            if name not in self.probes:
                raise ValueError(f"the design has no probe {name!r}, only: {', '.join(self.probes) or 'none'}")
            self._c.fast_enable(self._handle, self._logs[name], 1)
        self.reset()

    def close(self) -> None:
        """Ends the simulation and completes the wave file, which appears only then."""
        if self._handle:
            self._c.fast_destroy(self._handle)
            self._handle = None
            if self._waves:
                Path(self._partial).replace(self._waves)

    # ----- driving -----

    def reset(self) -> None:
        """Resets the core (its memories keep their contents); forgets inputs, outputs and logs; cycle 0 follows."""
        self._c.fast_reset(self._handle)
        self._read = 0

    def set(self, *, run: int | None = None, seq_len: int | None = None) -> None:
        """Sets the inputs ``run`` and ``seq_len`` from the next cycle on."""
        if run is not None:
            self._state.run = run
        if seq_len is not None:
            self._state.seq_len = seq_len

    def stall(self, *, inputs: float = 0.0, outputs: float = 0.0, seed: int = 0) -> None:
        """Each cycle, delays the next input word, and refuses an output word, with these probabilities."""
        for probability in (inputs, outputs):
            if not 0 <= probability <= 1:
                raise ValueError(f"a stall probability must lie in 0..1, not {probability}")
        self._c.fast_stall(self._handle, inputs, outputs, seed)

    def push(self, words: npt.ArrayLike) -> None:
        """Queues 64-bit words for the input stream; they are taken as time passes."""
        data = np.ascontiguousarray(words, dtype=np.uint64)
        self._c.fast_push(self._handle, data.ctypes.data, data.size)

    def step(self, cycles: int) -> None:
        """Lets ``cycles`` clock cycles pass."""
        self._run(cycles, library.CYCLES, 0)

    def load(self, words: npt.ArrayLike, *, limit: int = 1 << 40) -> int:
        """Pushes ``words`` and waits until the last one is taken; returns the cycle of that.

        Raises
        ------
        Deadlock, Timeout
            See :meth:`collect`.
        """
        self.push(words)
        self._wait(limit, library.INPUT_TAKEN, 0, "all input words to be taken")
        return self._state.last_taken

    def collect(self, count: int, *, limit: int = 1 << 40) -> Outputs:
        """Waits for the next ``count`` words of the output stream.

        Raises
        ------
        Deadlock
            If nothing happens for ``idle_limit`` cycles; names the state of the core.
        Timeout
            After ``limit`` cycles.
        """
        self._wait(limit, library.OUTPUTS, self._read + count, f"{count} output words")
        data, cycle = self._copy(-1, 2, self._read, count)
        last = np.empty(count, dtype=np.uint8)
        self._c.fast_log_last(self._handle, self._read, count, last.ctypes.data)
        self._read += count
        return Outputs(data.reshape(-1).view(np.uint64), cycle, last.astype(bool))

    def wait_frames(self, total: int, *, limit: int = 1 << 40) -> int:
        """Waits until ``frames_done`` is at least ``total``; returns the cycle. Raises like :meth:`collect`."""
        self._wait(limit, library.FRAMES, total, f"frames_done = {total}")
        return self._state.cycle

    # ----- observing -----

    @property
    def cycle(self) -> int:
        """Clock edges since reset."""
        return self._state.cycle

    @property
    def busy(self) -> int:
        """The output ``busy`` as of the last edge."""
        return self._state.busy

    @property
    def frames_done(self) -> int:
        """The output ``frames_done`` as of the last edge."""
        return self._state.frames_done

    @property
    def errors(self) -> int:
        """The output ``errors`` as of the last edge."""
        return self._state.errors

    @property
    def load_crc(self) -> int:
        """The output ``load_crc`` as of the last edge."""
        return self._state.load_crc

    @property
    def unread(self) -> int:
        """Output words that have arrived and were not collected yet."""
        return self._state.outputs - self._read

    def timeline(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """Every change of ``busy``: cycles [n] and new values [n]; the value is 0 before the first."""
        return self._series(0)

    def frames(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """Every change of ``frames_done``: cycles [n] and new values [n]."""
        return self._series(1)

    def trace(self, name: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        """What a traced probe showed: cycles [n], data [n, words of 32 bits, lowest first]."""
        if name not in self.probes:
            raise ValueError(f"the design has no probe {name!r}, only: {', '.join(self.probes) or 'none'}")
        data, cycle = self._copy(self._logs[name], self.probes[name].words)
        return cycle, data

    def lanes(self, name: str, bits: int, *, signed: bool) -> npt.NDArray[np.int64]:
        """The traced data of a probe as integers [n, lanes] of ``bits`` each, lane 0 in the lowest bits."""
        raw = self.trace(name)[1].view(np.uint8)
        count = self.probes[name].width // bits
        if bits in (8, 16, 32):
            return raw.view(f"{'i' if signed else 'u'}{bits // 8}")[:, :count].astype(np.int64)
        split = np.unpackbits(raw, axis=1, count=count * bits, bitorder="little").reshape(-1, count, bits)
        weights = np.left_shift(np.int64(1), np.arange(bits))
        weights[-1] *= -1 if signed else 1
        return np.matmul(split, weights, dtype=np.int64)

    # ----- inner workings -----

    def _series(self, log: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        data, cycle = self._copy(log, 1)
        return cycle, data.reshape(-1)

    def _copy(self, log: int, words: int, start: int = 0, count: int | None = None):
        if count is None:
            count = self._c.fast_log_size(self._handle, log)
        cycle, data = np.empty(count, dtype=np.uint64), np.empty((count, words), dtype=np.uint32)
        self._c.fast_log_copy(self._handle, log, start, count, words, cycle.ctypes.data, data.ctypes.data)
        return data, cycle

    def _wait(self, limit: int, until: int, target: int, what: str) -> None:
        state = self._state
        state.progress = state.cycle
        outcome = self._run(limit, until, target)
        if outcome == library.REACHED:
            return
        where = (
            f"cycle {state.cycle}, waiting for {what}: busy {state.busy:#010b}, frames_done {state.frames_done}, "
            f"{state.pending} input words pending, {self.unread} output words unread, run {state.run}"
        )
        if outcome == library.DEADLOCK:
            raise Deadlock(f"no event for {state.idle_limit} cycles at {where}")
        raise Timeout(f"limit of {limit} cycles used up at {where}")

    def _run(self, cycles: int, until: int, target: int) -> int:
        """In chunks, so that Ctrl-C acts at once and the callback is called."""
        state = self._state
        outcome = library.BUDGET_USED
        while cycles or outcome == library.BUDGET_USED:
            chunk, before, clock = min(self._chunk, cycles), state.cycle, time.perf_counter()
            outcome = self._c.fast_run(self._handle, chunk, until, target)
            cycles -= chunk
            if outcome != library.BUDGET_USED or not cycles:
                break
            rate = (state.cycle - before) / (time.perf_counter() - clock)
            self._chunk = max(100, int(rate * _CHUNK_S))
            if self._progress:
                self._progress(Progress(state.cycle, rate, state.pending, state.outputs, state.frames_done))
        return outcome
