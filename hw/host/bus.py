# SPDX-License-Identifier: SHL-2.1
"""The bus between a host interface (UART, AXI4-Lite, Wishbone) and the registers of a core."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_BITS", "READ_LATENCY", "RegisterBus"]

ADDRESS_BITS = 8
"""Width of a word index: 256 registers of 32 bits."""

READ_LATENCY = 2
"""Cycles from an address to its register's value in ``r_data``."""


class RegisterBus(wiring.Signature):
    """A bus without handshakes, seen from its master: every cycle reads, and writes where ``write`` is high.

    The register of ``addr`` is in ``r_data`` :data:`READ_LATENCY` cycles after the cycle that presents ``addr``, as it
    stood in that cycle. A write takes effect in the cycle after it: an address presented then reads what was
    written (what CONTROL, PASSES and LOAD_CRC set in motion may show two cycles later). Reading has no side effects.
    A master drives ``addr``, ``write`` and ``w_data`` from registers.

    Members
    -------
    addr : word index (byte offset / 4)
    write : write ``w_data`` to the register of ``addr``
    w_data, r_data : 32 bits
    """

    def __init__(self):
        super().__init__({"addr": Out(ADDRESS_BITS), "write": Out(1), "w_data": Out(32), "r_data": In(32)})
