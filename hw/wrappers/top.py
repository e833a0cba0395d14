# SPDX-License-Identifier: SHL-2.1
"""What every wrapper begins with: a hosted core, its clock, and a reset that is registered at the pin."""

from typing import ClassVar

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Member

from hw.config import CoreConfig
from hw.host.hosted import HostedCore
from hw.program.loads import Target

__all__ = ["HostedTop"]


class HostedTop(wiring.Component):
    """A hosted core to be put behind a bus.

    Parameters
    ----------
    config, images, model_hash, core_module : see :class:`hw.host.hosted.HostedCore`
    """

    TOP: ClassVar[str]
    """Name of the Verilog module."""
    PORTS: ClassVar[dict[str, Member]]

    def __init__(
        self,
        config: CoreConfig,
        images: dict[Target, list[int]] | None = None,
        *,
        model_hash: int = 0,
        core_module: str | None = None,
    ):
        self._core = HostedCore(config, images, model_hash=model_hash, core_module=core_module)
        super().__init__(self.PORTS)

    def clocked(self, clock, reset) -> tuple[Module, HostedCore]:
        """A module with the hosted core, run by the pin ``clock``, a cycle behind the level ``reset`` (active high)."""
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.pin = ClockDomain(reset_less=True)
        registered = Signal(init=1, name="reset")
        m.d.pin += registered.eq(reset)
        m.d.comb += [ClockSignal().eq(clock), ClockSignal("pin").eq(clock), ResetSignal().eq(registered)]
        m.submodules.hosted = self._core
        return m, self._core
