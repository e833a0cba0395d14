# SPDX-License-Identifier: SHL-2.1
"""Observation points: every tensor that the engines produce, as streams that a simulator can log."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .config import CoreConfig

__all__ = ["Probe", "probe_streams"]


def probe_streams(config: CoreConfig) -> dict[str, int]:
    """Streams and their element widths in bits; every stream carries ``config.lanes`` elements a cycle."""
    return {"drain": 16, "score": 24, "softmax": 8, "norm8": 8, "norm16": 16}


class Probe(wiring.Component):
    """A sink of ``<stream>_valid`` and ``<stream>_data`` for every stream of :func:`probe_streams`.

    It drives nothing, so synthesis removes it; simulators read its registers by name.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        members = {}
        for name, bits in probe_streams(config).items():
            members[f"{name}_valid"] = In(1)
            members[f"{name}_data"] = In(unsigned(bits * config.lanes))
        super().__init__(members)

    def elaborate(self, platform):
        return Module()
