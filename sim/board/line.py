# SPDX-License-Identifier: Apache-2.0
"""A line straight to a simulated board, in simulated time: what is waited for takes cycles, not seconds."""

from sim.board import SimulatedBoard

__all__ = ["DirectLine"]


class DirectLine:
    """Carries bytes like a serial port (:class:`gen.link.transport.Transport`), the same ones in every run."""

    def __init__(self, board: SimulatedBoard):
        self.board = board

    def write(self, data: bytes) -> None:
        """Queue bytes for the board."""
        self.board.send(data)

    def read(self, seconds: float) -> bytes:
        """What has come from the board; lets up to ``seconds`` of its clock pass for a first byte."""
        self.board.run(max(1, round(seconds * self.board.clock_hz)), until=1)
        return self.board.receive()

    def discard(self) -> None:
        """Forget what has come."""
        self.board.receive()

    def clock(self) -> float:
        """Seconds of the board's clock."""
        return self.board.cycle / self.board.clock_hz

    def close(self) -> None:
        """The board stays as it is."""
