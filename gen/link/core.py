# SPDX-License-Identifier: Apache-2.0
"""The core on a board, over a connection that is open: its registers and streams put to use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gen.emit.verilog import model_hash
from gen.link.connection import Connection
from gen.link.errors import CoreRefused, CoreStalled, LoadFailed, NotABoard, WrongBoard
from gen.link.identity import identify
from gen.link.pace import Patience
from gen.program.image import Image
from hw.core import BUSY_BITS
from hw.host.registers import REGISTERS, register
from hw.link.protocol import MAX_PAYLOAD
from sim.golden import IntArray

__all__ = ["Progress", "RemoteCore"]

Progress = Callable[[int, int], None]
"""Told how much is done, and how much there is."""

_SAME_READS = 8  # of a counter, until two agree
_COUNTERS = ("FRAMES_DONE", "ACTIVE_CYCLES", "CYCLES_LO", "CYCLES_HI")


class RemoteCore:
    """What is done with a core in one session; every method may raise :class:`gen.link.connection.SessionLost`.

    Parameters
    ----------
    link : Connection
    stall : float
        Seconds after which a core that does nothing has stalled.

    Attributes
    ----------
    identity : Identity
        Of the last :meth:`open`.
    damage : str or None
        What else the memories hold, if the board said, at the last :meth:`load`, that they hold the model.
    """

    def __init__(self, link: Connection, *, stall: float):
        self._link, self.name, self._stall, self._clock = link, link.name, stall, link.transport.clock
        self._room = 0  # words that the input buffer takes at least
        self.damage: str | None = None

    def open(self) -> None:
        """Begin a session, learn who answers, and reset the core.

        Raises
        ------
        NoAnswer, NotABoard
            If it is no core of this version.
        """
        self._link.open()
        self.identity = identify(self.name, self._link.read(0, len(REGISTERS)), self._link.hello)
        self.reset()

    def reset(self, *, clear: bool = False) -> None:
        """Reset core and streams; with ``clear`` the counters, too."""
        control, self._room = register("CONTROL"), 0
        self._link.write((control.index, control["reset"].mask | control["clear"].mask * clear))

    def counters(self) -> dict[str, int]:
        """FRAMES_DONE, ACTIVE_CYCLES, CYCLES and the ``BUSY_`` counter of every engine."""
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

    def load(self, image: Image, progress: Progress | None, force: bool) -> bool:
        """Put a model into the memories, unless the board says that it is there and ``force`` is not set.

        Raises
        ------
        WrongBoard, CoreStalled, CoreRefused, LoadFailed
            If it was compiled for another configuration, or the core does not take all of it as it is.
        """
        config = self.identity.config
        if config.fingerprint != image.config.fingerprint:
            raise WrongBoard(
                f"{self.name}: wrong bitstream on the board: its core is {config.array} with configuration "
                f"{config.fingerprint[:16]}, and model {image.name} was compiled for {image.config.array} with "
                f"{image.config.fingerprint[:16]}; flash the matching one, or generate for the board's configuration"
            )
        self.damage = None
        if not force and self._holds(image):
            return False
        (low, high), crc = (register(f"MODEL_HASH_{half}").index for half in ("LO", "HI")), register("LOAD_CRC").index
        self.reset()
        self._link.write((low, 0), (high, 0), (crc, 0))
        data = np.concatenate(image.load_packets()).astype("<u8").tobytes()
        pushed, patience = 0, Patience(self._clock, self._stall)
        while pushed < len(data) or self._link.push(b"") < self._link.hello["input_words"] or self._loading():
            before, pushed = pushed, self._push(data, pushed)
            if progress and pushed > before:
                progress(pushed, len(data))
            if patience.over(pushed > before):
                raise self._stalled("takes no program")
        self.check()
        found, wanted = self._read("LOAD_CRC"), model_hash(image.memories)
        if found != image.load_crc:
            raise LoadFailed(
                f"{self.name}: LOAD_CRC is {found:08x} after loading model {image.name}, and must be "
                f"{image.load_crc:08x}; load it again, and build for a slower clock if that does not help"
            )
        self._link.write((low, wanted & 0xFFFFFFFF), (high, wanted >> 32))
        return True

    def check(self) -> None:
        """Ask whether the core has refused anything since it was reset.

        Raises
        ------
        CoreRefused
            If it has.
        """
        found = self._read("ERRORS")
        if said := [f"{f.name}: {f.doc}" for f in register("ERRORS").fields if found & f.mask]:
            raise CoreRefused(
                f"{self.name}: the core refused what it was sent ({'; '.join(said)}); no other program may send to the "
                "board meanwhile: run again, with --reload if that does not help"
            )

    def _read(self, name: str) -> int:
        return self._link.read(register(name).index, 1)[0]

    def _loading(self) -> bool:
        return bool(self._read("STATUS") & 1 << BUSY_BITS.index("loader"))

    def _holds(self, image: Image) -> bool:
        """Whether the model is in the memories, by its hash and by the CRC of all that was ever loaded."""
        halves, crc = self._link.read(register("MODEL_HASH_LO").index, 2), self._read("LOAD_CRC")
        if halves[1] << 32 | halves[0] != model_hash(image.memories):
            return False
        if crc != image.load_crc:
            self.damage = f"MODEL_HASH is that of model {image.name}, and LOAD_CRC {crc:08x}, not {image.load_crc:08x}"
        return crc == image.load_crc

    def _push(self, data: bytes, pushed: int) -> int:
        """Push what there is room for now of ``data`` from byte ``pushed`` on; returns where the rest begins."""
        size = min(len(data) - pushed, MAX_PAYLOAD)
        if size > 8 * self._room:  # room as of the last time; more since then, perhaps
            self._room = self._link.push(b"")
            size = min(size, 8 * self._room)
        if size:
            self._room = self._link.push(data[pushed : pushed + size])
        return pushed + size

    def run_group(
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

        Raises
        ------
        CoreStalled, CoreRefused
            If the core gives no result, or does not take an input.
        """
        link, each = self._link, image.output_words(tokens)
        data = np.concatenate(packets).astype("<u8").tobytes()
        ends = np.cumsum([8 * len(packet) for packet in packets])
        pushed = requested = 0
        arrived = bytearray()
        left, room = len(packets), max(1, link.hello["result_words"] // each)
        link.write((register("SEQ_LEN").index, tokens))
        patience = Patience(self._clock, self._stall)
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
        self.check()

    def _stalled(self, complaint: str) -> CoreStalled:
        self.check()
        status = self._read("STATUS")
        return CoreStalled(
            f"{self.name}: the core {complaint} (STATUS {status:#x}); load the model again, and build for a slower "
            "clock if that does not help"
        )
