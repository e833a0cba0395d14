# SPDX-License-Identifier: Apache-2.0
"""How long to wait for a board: real ones are fast, simulated ones may have a thousandth of their speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gen.link.transport import Transport

__all__ = ["REAL", "SIMULATED", "Pace", "Patience", "is_simulated"]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Of a kind of board; seconds. See :class:`gen.link.connection.Connection`."""

    patience: float
    timeout: float
    slowest: float
    stall: float
    """In which a core that works does something."""
    spare: float
    """Of the board's own time, which it may take to try a model that is there already: under a second of ours."""


REAL = Pace(patience=0.25, timeout=3.0, slowest=4.0, stall=5.0, spare=1.0)
SIMULATED = Pace(patience=10.0, timeout=15.0, slowest=1e4, stall=200.0, spare=1e-3)


class Patience:
    """Runs out when nothing has moved for some seconds."""

    def __init__(self, clock: Callable[[], float], seconds: float):
        self._clock, self._seconds, self._end = clock, seconds, clock() + seconds

    def over(self, moved: bool) -> bool:
        """Whether it has run out; ``moved``: something has, since the last call."""
        now = self._clock()
        if moved:
            self._end = now + self._seconds
        return now > self._end


def is_simulated(port: str | Transport) -> bool:
    """Whether ``port`` is a pseudo-terminal, where only simulations are."""
    return isinstance(port, str) and str(Path(port).resolve()).startswith("/dev/pts/")
