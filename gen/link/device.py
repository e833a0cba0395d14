# SPDX-License-Identifier: Apache-2.0
"""A board from the host's side.

::

    with Device("/dev/ttyUSB0") as device:
        print(device.identity.config.array)
        device.load("build/digits")          # nothing to do where the bitstream holds this model
        logits = device.run(x)               # integers [tokens, features] in, integers out
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.emit.manifest import Design, open_design
from gen.emit.verilog import model_hash
from gen.errors import InputError
from gen.link.connection import Connection, SessionLost, Waiting
from gen.link.errors import BoardReset, CoreStalled, NotABoard, SelfTestFailed, WrongBoard
from gen.link.identity import Identity, Measured, identify
from gen.link.pace import REAL, SIMULATED, Patience, is_simulated
from gen.link.transport import SerialTransport, Transport
from gen.model.randommodel import random_rows
from gen.program.image import Image
from hw.host.registers import REGISTERS, register
from hw.link.protocol import MAX_PAYLOAD
from sim.golden import IntArray
from sim.reference import forward

__all__ = ["BAUD", "Device", "Identity", "Measured"]

BAUD = 3_000_000
"""Unless a board says otherwise."""

_RESTARTS = 3  # of a run or load that resets interrupt
_SAME_READS = 8  # of a counter, until two agree
_ECHOES = 4  # of a self-test

Progress = Callable[[int, int], None]


class Device:
    """An open port with a board on it, its core reset.

    Every method raises a :class:`gen.link.errors.LinkError` of a telling class if it cannot do its work; the device can
    be used again afterwards. A board that is reset meanwhile is brought back to where it was, a few times.

    Parameters
    ----------
    port : str or Transport
        A serial port, or what carries the bytes instead.
    baud : int
    timeout : float
        Seconds after which a board that does not answer is given up: 3 unless given, and 15 behind a pseudo-terminal,
        where only simulations are. Long frames have more, by the time that they take.
    patience : float
        Seconds beyond the time of its bytes, after which a request without answer is sent again: 0.25 unless given,
        and 10 behind a pseudo-terminal.
    stall : float
        Seconds after which a core that does nothing has stalled: 5 unless given, and 200 behind a pseudo-terminal.
    waiting : callable
        Told, once a second, how many seconds an answer has been waited for, and after how many it is given up.

    Attributes
    ----------
    identity : Identity
    simulated : bool
        Whether ``port`` is a pseudo-terminal.
    measured : Measured or None
        Of the last :meth:`run` or :meth:`run_all`.
    """

    def __init__(
        self,
        port: str | Transport,
        baud: int = BAUD,
        *,
        timeout: float | None = None,
        patience: float | None = None,
        stall: float | None = None,
        waiting: Waiting | None = None,
    ):
        self.name = port if isinstance(port, str) else type(port).__name__
        self._transport = SerialTransport(port, baud) if isinstance(port, str) else port
        self.simulated = is_simulated(port)
        pace = SIMULATED if self.simulated else REAL
        self._link = Connection(
            self._transport,
            name=self.name,
            baud=baud,
            patience=pace.patience if patience is None else patience,
            timeout=pace.timeout if timeout is None else timeout,
            slowest=pace.slowest,
            waiting=waiting,
        )
        self._stall = pace.stall if stall is None else stall
        self._image: Image | None = None
        self._room = 0  # words that the input buffer takes at least
        self.measured: Measured | None = None
        try:
            self.identity = self._attempt(self._open)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the port back."""
        self._transport.close()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ----- the board

    def reset(self) -> None:
        """Reset the core and its streams; memories and counters stay."""
        self._attempt(self._reset)

    def counters(self) -> dict[str, int]:
        """FRAMES_DONE, ACTIVE_CYCLES, CYCLES and the BUSY_... of every engine, since the last run began."""
        return self._attempt(self._counters)

    def self_test(self, design: Design | None = None, *, progress: Progress | None = None) -> int:
        """Echo bytes of every kind, and run a random input through the model of ``design``; returns values compared.

        Raises
        ------
        SelfTestFailed
            If what comes back is not the same, or not what the golden model says.
        """
        draw, compared = random.Random(1), 0
        for number in range(_ECHOES):
            data = bytes(range(256)) * 4 if number == 0 else draw.randbytes(MAX_PAYLOAD)
            back = self._attempt(lambda data=data: self._link.echo(data))
            if back != data:
                wrong = sum(a != b for a, b in zip(back, data, strict=False)) + abs(len(back) - len(data))
                raise SelfTestFailed(
                    f"{self.name}: link test: {wrong} of {len(data)} bytes came back wrong; flash this version"
                )
            compared += len(data)
            if progress:
                progress(number + 1, _ECHOES)
        if design is not None:
            x = random_rows(design.model, design.model.max_tokens)
            expected = forward(design.model, x)["output"]
            self.load(design, progress=progress)
            wrong = int((self.run(x) != expected).sum())
            if wrong:
                raise SelfTestFailed(
                    f"{self.name}: core test: {wrong} of {expected.size} results differ from the golden model; load "
                    "the model anew, or build the bitstream for a slower clock"
                )
            compared += expected.size
        return compared

    # ----- the model

    def load(
        self, model: Image | Design | str | Path, *, progress: Progress | None = None, force: bool = False
    ) -> bool:
        """Put a model into the board's memories; returns whether that was needed (``force`` does it in any case).

        Parameters
        ----------
        model : Image, Design, str or Path
            Compiled, or the folder of a generated accelerator.
        progress : callable
            Told the bytes sent, and how many there are.

        Raises
        ------
        WrongBoard
            If it was compiled for another configuration than the board's.
        """
        if isinstance(model, str | Path):
            model = open_design(model)
        image = model.image if isinstance(model, Design) else model
        self._image = None
        loaded = self._attempt(lambda: self._load(image, progress, force))
        self._image = image
        return loaded

    def run(self, x: npt.ArrayLike) -> IntArray:
        """The result of one input [tokens, features]: logits, or rows [tokens, width]."""
        return self.run_all([x])[0]

    def run_all(self, inputs: Sequence[npt.ArrayLike], *, progress: Progress | None = None) -> list[IntArray]:
        """Results of inputs, each [tokens, features], in order.

        Inputs go to the board while it works on earlier ones. If it is reset meanwhile, what has no result yet is
        done again.

        Parameters
        ----------
        progress : callable
            Told the results so far, and how many there will be.

        Raises
        ------
        InputError
            If no model is loaded or an input does not suit it.
        CoreStalled
            If the core gives no result.
        """
        image = self._image
        if image is None:
            raise InputError(f"{self.name}: no model is loaded; call load first")
        packets = [np.asarray(image.input_packet(x), np.uint64) for x in inputs]
        tokens = [len(np.asarray(x)) for x in inputs]
        results: list[IntArray] = []
        fresh, moved = True, (self._link.sent, self._link.received, self._link.repeated)

        def work() -> None:
            nonlocal fresh
            if not fresh:
                self._load(image, None, False)
            fresh = False
            self._reset(clear=not results)
            done = len(results)
            for length, group in groupby(range(done, len(packets)), key=lambda number: tokens[number]):
                numbers = list(group)
                self._run_group([packets[n] for n in numbers], length, image, results, progress, len(packets))

        self._attempt(work)
        counters = self._attempt(self._counters)
        now = (self._link.sent, self._link.received, self._link.repeated)
        sent, received, repeated = (b - a for a, b in zip(moved, now, strict=True))
        self.measured = Measured(
            inputs=len(results),
            cycles=counters["CYCLES"],
            core_cycles=counters["ACTIVE_CYCLES"],
            clock_hz=self.identity.clock_hz,
            bytes_sent=sent,
            bytes_received=received,
            repeated=repeated,
        )
        return results

    # ----- inner workings: these may raise SessionLost

    def _attempt(self, work: Callable):
        """Do ``work``; where the board was reset meanwhile, open a new session and do it again."""
        for restart in range(_RESTARTS + 1):
            try:
                if restart:
                    self.identity = self._open()
                return work()
            except SessionLost as error:
                lost = error
        raise BoardReset(
            f"{lost} ({_RESTARTS + 1} times in a row: check its power supply, and that no other program uses it)"
        )

    def _open(self) -> Identity:
        self._link.open()
        identity = identify(self.name, self._link.read(0, len(REGISTERS)), self._link.hello)
        self._reset()
        return identity

    def _reset(self, *, clear: bool = False) -> None:
        control, self._room = register("CONTROL"), 0
        self._link.write((control.index, control["reset"].mask | control["clear"].mask * clear))

    def _counters(self) -> dict[str, int]:
        regs = [reg for reg in REGISTERS if reg.name in _COUNTERS or reg.name.startswith("BUSY_")]
        first, last = regs[0].index, regs[-1].index
        for _ in range(_SAME_READS):  # high, low, high: no carry in between
            high = self._link.read(register("CYCLES_HI").index, 1)[0]
            read = self._link.read(first, last - first + 1)
            values = dict(zip((reg.name for reg in REGISTERS[first:]), read, strict=False))
            if values["CYCLES_HI"] == high:
                break
        else:
            raise NotABoard(f"{self.name}: its cycle counter counts like no board's; flash it with this version")
        cycles = values.pop("CYCLES_HI") << 32 | values.pop("CYCLES_LO")
        return {**values, "CYCLES": cycles}

    def _load(self, image: Image, progress: Progress | None, force: bool) -> bool:
        config = self.identity.config
        if config.fingerprint != image.config.fingerprint:
            raise WrongBoard(
                f"{self.name}: wrong bitstream on the board: its core is {config.array} with configuration "
                f"{config.fingerprint[:16]}, and model {image.name} was compiled for {image.config.array} with "
                f"{image.config.fingerprint[:16]}; flash the matching one, or generate for the board's configuration"
            )
        low, high = register("MODEL_HASH_LO").index, register("MODEL_HASH_HI").index
        wanted = model_hash(image.memories)
        halves = self._link.read(low, 2)
        if halves[1] << 32 | halves[0] == wanted and not force:
            return False
        self._link.write((low, 0), (high, 0))
        self._reset()
        data = np.concatenate(image.load_packets()).astype("<u8").tobytes()
        pushed, patience = 0, Patience(self._transport.clock, self._stall)
        while pushed < len(data) or self._link.push(b"") < self._link.hello["input_words"]:  # all is in the memories
            before, pushed = pushed, self._push(data, pushed)
            if progress and pushed > before:
                progress(pushed, len(data))
            if patience.over(pushed > before):
                raise self._stalled("takes no program")
        self._link.write((low, wanted & 0xFFFFFFFF), (high, wanted >> 32))
        return True

    def _push(self, data: bytes, pushed: int) -> int:
        """Push what there is room for now of ``data`` from byte ``pushed`` on; returns where the rest begins."""
        size = min(len(data) - pushed, MAX_PAYLOAD)
        if size > 8 * self._room:  # room as of the last time; more since then, perhaps
            self._room = self._link.push(b"")
            size = min(size, 8 * self._room)
        if size:
            self._room = self._link.push(data[pushed : pushed + size])
        return pushed + size

    def _run_group(
        self,
        packets: list[npt.NDArray[np.uint64]],
        tokens: int,
        image: Image,
        results: list[IntArray],
        progress: Progress | None,
        total: int,
    ) -> None:
        """Results of inputs of one length, appended to ``results``.

        A pass is requested once its whole input is with the board and its result has room there, so that ACTIVE_CYCLES
        has no waiting for the link.
        """
        link, each = self._link, image.output_words(tokens)
        data = np.concatenate(packets).astype("<u8").tobytes()
        ends = np.cumsum([8 * len(packet) for packet in packets])
        pushed = requested = 0
        arrived = bytearray()
        left, room = len(packets), max(1, link.hello["result_words"] // each)
        link.write((register("SEQ_LEN").index, tokens))
        patience = Patience(self._transport.clock, self._stall)
        while left:
            before, pushed = pushed, self._push(data, pushed)
            moved = pushed > before
            done = len(packets) - left
            granted = min(int(np.searchsorted(ends, pushed, side="right")), done + room)
            if granted > requested:
                link.write((register("PASSES").index, granted - requested))
                requested = granted
            if requested > done:
                words = link.pull(left * each - len(arrived) // 8)
                arrived += words
                moved |= bool(words)
            while left and len(arrived) >= 8 * each:
                result = np.frombuffer(bytes(arrived[: 8 * each]), "<u8")
                results.append(image.decode_output(result, tokens))
                del arrived[: 8 * each]
                left -= 1
                if progress:
                    progress(len(results), total)
            if patience.over(moved):
                raise self._stalled(f"gives no result for {left} of {total} inputs")

    def _stalled(self, complaint: str) -> CoreStalled:
        status = self._link.read(register("STATUS").index, 1)[0]
        return CoreStalled(
            f"{self.name}: the core {complaint} (STATUS {status:#x}); load the model again, and build for a slower "
            "clock if that does not help"
        )


_COUNTERS = ("FRAMES_DONE", "ACTIVE_CYCLES", "CYCLES_LO", "CYCLES_HI")
