# SPDX-License-Identifier: Apache-2.0
"""What a board says of itself and of its work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gen.link.errors import NotABoard
from hw.config import CoreConfig
from hw.host.registers import ID, MAP_REVISION, REGISTERS, config_of, register

__all__ = ["Identity", "Measured", "identify"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board says it is."""

    version: str
    config: CoreConfig
    clock_hz: int
    baud: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One call of :meth:`Device.run_all`, by the board's own counters."""

    inputs: int
    cycles: int
    """Clock cycles from the first byte sent to the last result fetched: what the link makes of it."""
    core_cycles: int
    """Of these, the cycles with a pass in flight: what the core makes of it."""
    clock_hz: int
    bytes_sent: int
    bytes_received: int
    repeated: int
    """Requests sent again."""

    @property
    def link_rate(self) -> float:
        """Results a second, link included."""
        return self.inputs * self.clock_hz / max(self.cycles, 1)

    @property
    def core_rate(self) -> float:
        """Results a second of the core alone, fed from the link's buffer."""
        return self.inputs * self.clock_hz / max(self.core_cycles, 1)


def identify(name: str, registers: Sequence[int], hello: Mapping[str, int]) -> Identity:
    """Who answers at port ``name``, by all its registers and its :class:`hw.link.protocol.Hello`.

    Raises
    ------
    NotABoard
        If it is no core, or one that this version does not know.
    """
    known = {reg.name: value for reg, value in zip(REGISTERS, registers, strict=True)}
    if known["ID"] != ID:
        raise NotABoard(
            f"{name}: answers, but is no rtlformer core (ID {known['ID']:08x}); flash an rtlformer bitstream"
        )
    version = register("VERSION")
    if (revision := known["VERSION"] >> version["map"].lsb) != MAP_REVISION:
        raise NotABoard(
            f"{name}: the board's registers are of revision {revision}, this version knows {MAP_REVISION}; flash it "
            "with this version"
        )
    try:
        config = config_of(known.__getitem__)
    except ValueError as error:
        raise NotABoard(f"{name}: the board's registers make no sense: {error}; flash it again") from None
    numbers = (known["VERSION"] >> version[part].lsb & 0xFF for part in ("major", "minor", "patch"))
    return Identity(version=".".join(map(str, numbers)), config=config, clock_hz=hello["clock_hz"], baud=hello["baud"])
