# SPDX-License-Identifier: Apache-2.0
"""What carries the bytes between host and board."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from typing import Protocol

import serial
import serial.tools.list_ports

from gen.link.errors import LinkError, PortAbsent, PortBusy, PortLost

__all__ = ["MOST_BAUD", "SerialTransport", "Transport"]

MOST_BAUD = 12_000_000
"""What USB serial adapters can do."""

_WRITE_SECONDS = 5.0  # a port that takes nothing for so long is lost


class Transport(Protocol):
    """A line to a board, with a clock by which answers are waited for."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def read(self, seconds: float) -> bytes:
        """What has come; waits up to ``seconds`` for a first byte."""

    def discard(self) -> None:
        """Forget what has come."""

    def clock(self) -> float:
        """Seconds since some moment."""

    def close(self) -> None:
        """Give the line back."""


class SerialTransport:
    """A serial port, ours alone while it is open.

    Parameters
    ----------
    port : str
        Such as ``/dev/ttyUSB0`` or ``COM3``.
    baud : int

    Raises
    ------
    PortAbsent, PortBusy
        If it cannot be opened.
    """

    def __init__(self, port: str, baud: int):
        self.port = port
        try:
            self._serial = serial.Serial(port, baud, timeout=0, write_timeout=_WRITE_SECONDS, exclusive=True)
        except (serial.SerialException, OSError, ValueError, OverflowError) as error:
            raise _cannot_open(port, error) from None
        with suppress(AttributeError, NotImplementedError, ValueError):  # where port and system know of it
            self._serial.set_low_latency_mode(True)  # FTDI chips hold short answers back for 16 ms otherwise

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises
        ------
        PortLost
            If the port takes them no more.
        """
        try:
            self._serial.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from None

    def read(self, seconds: float) -> bytes:
        """What has come; waits up to ``seconds`` for a first byte.

        Raises
        ------
        PortLost
            If the port has gone.
        """
        try:
            self._serial.timeout = seconds
            first = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else first
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed meanwhile
            raise self._lost(error) from None

    def discard(self) -> None:
        """Forget what has come."""
        try:
            self._serial.reset_input_buffer()
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from None

    def clock(self) -> float:
        """Real time."""
        return time.monotonic()

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def _lost(self, error: Exception) -> PortLost:
        reason = getattr(error, "strerror", None) or error
        return PortLost(f"{self.port}: the port has gone or takes no more bytes ({reason}); check cable and power")


def _cannot_open(port: str, error: Exception) -> LinkError:
    port, number = port or "--port", getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV) or "FileNotFound" in str(error):
        there = sorted(found.device for found in serial.tools.list_ports.comports())
        known = f"choose one of {', '.join(there)}" if there else "none is there: plug the board in"
        return PortAbsent(f"{port}: no such port; {known}, or use --port sim")
    if number == errno.EACCES or "PermissionError" in str(error) or "Access is denied" in str(error):
        return PortBusy(
            f"{port}: permission denied; join the group that owns it (often dialout), or close what uses it"
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return PortBusy(f"{port}: another program uses this port; close it")
    return PortAbsent(f"{port}: is no serial port ({getattr(error, 'strerror', None) or error}); choose another")
