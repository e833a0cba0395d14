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
from gen.emit.selftest import SelfTest
from gen.errors import InputError
from gen.link.connection import Connection, SessionLost, Waiting
from gen.link.core import Progress, RemoteCore
from gen.link.errors import BoardReset, CoreRefused, CoreStalled, SelfTestFailed
from gen.link.identity import Identity, Measured
from gen.link.pace import REAL, SIMULATED, is_simulated
from gen.link.transport import SerialTransport, Transport
from gen.program.image import Image
from hw.link.protocol import MAX_PAYLOAD
from sim.golden import IntArray

__all__ = ["BAUD", "Device", "Identity", "Measured"]

BAUD = 3_000_000
"""Unless a board says otherwise."""

_RESTARTS = 3  # of a run or load that resets interrupt
_ECHOES = 4  # of a self-test


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
    simulated : bool
        Whether ``port`` is a pseudo-terminal.
    measured : Measured or None
        Of the last :meth:`run` or :meth:`run_all`.
    damage : str or None
        What was wrong with the model that the board said it held, at the last :meth:`load`, which then loaded it.
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
        self._pace, self._baud = pace, baud
        self._core = RemoteCore(self._link, stall=pace.stall if stall is None else stall)
        self._image: Image | None = None
        self.measured: Measured | None = None
        self.damage: str | None = None
        try:
            self._attempt(self._core.open)
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

    @property
    def identity(self) -> Identity:
        """What the board says it is."""
        return self._core.identity

    # ----- the board

    def reset(self) -> None:
        """Reset the core and its streams; memories and counters stay."""
        self._attempt(self._core.reset)

    def counters(self) -> dict[str, int]:
        """FRAMES_DONE, ACTIVE_CYCLES, CYCLES and the ``BUSY_`` counter of every engine, since the last run began."""
        return self._attempt(self._core.counters)

    def self_test(self, design: Design | None = None, *, progress: Progress | None = None) -> int:
        """Echo bytes of every kind, and run the inputs of ``design`` whose results are known; returns values compared.

        The model is loaded only if the board does not say that it holds it: what is tested is what is in its memories.

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
                wrong = sum(a != b for a, b in zip(back, data, strict=True))
                raise SelfTestFailed(
                    f"{self.name}: link test: {wrong} of {len(data)} bytes came back wrong; flash this version"
                )
            compared += len(data)
            if progress:
                progress(number + 1, _ECHOES)
        if design is not None:
            self._load(design.image, progress, False)
            self._try(design.self_test, len(design.self_test.inputs))
            compared += design.self_test.results.size
        return compared

    def _try(self, test: SelfTest, count: int) -> None:
        """Run the first ``count`` inputs of the model that is loaded."""
        results, expected = np.stack(self.run_all(list(test.inputs[:count]))), test.results[:count]
        if wrong := int((results != expected).sum()):
            raise SelfTestFailed(
                f"{self.name}: core test: {wrong} of {expected.size} results differ from the golden model; load the "
                "model anew (run --reload), or build the bitstream for a slower clock"
            )

    # ----- the model

    def load(
        self, model: Image | Design | str | Path, *, progress: Progress | None = None, force: bool = False
    ) -> bool:
        """Put a model into the board's memories; returns whether that was needed (``force`` does it in any case).

        It is needed unless two registers, MODEL_HASH and LOAD_CRC, say that the memories hold this model and nothing
        was written to them since. The model of a ``Design`` or folder is also tried, with as many of its self-test's
        inputs as the board has done in under a second. If it was there and results are wrong, it is loaded.

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
        CoreRefused, CoreStalled, LoadFailed
            If the core does not take all of it as it is.
        SelfTestFailed
            If it was loaded, and results are wrong nevertheless.
        """
        if isinstance(model, str | Path):
            model = open_design(model)
        image = model.image if isinstance(model, Design) else model
        loaded = self._load(image, progress, force)
        self.damage = self._core.damage
        count = self._affordable(model) if isinstance(model, Design) else 0
        measured = self.measured
        while isinstance(model, Design) and count:
            try:
                self._try(model.self_test, count)
                break
            except (SelfTestFailed, CoreStalled, CoreRefused) as error:
                self._image = None
                if loaded:
                    raise
                self.damage = str(error)
                loaded = self._load(image, progress, True)
            finally:
                self.measured = measured
        return loaded

    def _load(self, image: Image, progress: Progress | None, force: bool) -> bool:
        self._image = None
        loaded = self._attempt(lambda: self._core.load(image, progress, force))
        self._image = image
        return loaded

    def _affordable(self, design: Design) -> int:
        """Inputs of the self-test that take the time which there is to spare."""
        tokens, image = design.image.max_tokens, design.image
        words = image.input_words(tokens) + image.output_words(tokens)
        core = design.manifest["predicted"]["single_cycles"] / self.identity.clock_hz
        each = core + 1.5 * 10 * 8 * words / self._baud  # half as much again for frames and what is stuffed
        return min(int(self._pace.spare / each), len(design.self_test.inputs))

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
        CoreStalled, CoreRefused
            If the core gives no result, or says that it was sent something else than these inputs.
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
                self._core.load(image, None, False)
            fresh = False
            self._core.reset(clear=not results)
            done = len(results)
            for length, group in groupby(range(done, len(packets)), key=lambda number: tokens[number]):
                numbers = list(group)
                self._core.run_group([packets[n] for n in numbers], length, image, results, progress, len(packets))

        self._attempt(work)
        counters = self._attempt(self._core.counters)
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
                    self._core.open()
                return work()
            except SessionLost as error:
                lost = error
        raise BoardReset(
            f"{lost} ({_RESTARTS + 1} times in a row: check its power supply, and that no other program uses it)"
        )
