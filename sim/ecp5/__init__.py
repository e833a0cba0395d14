# SPDX-License-Identifier: Apache-2.0
"""Simulating what synthesis for Lattice ECP5 leaves: models of its cells, and netlists as Verilog that runs fast."""

from pathlib import Path

from sim.ecp5.netlist import NetlistError, netlist_verilog

__all__ = ["CELLS", "PLL", "NetlistError", "netlist_verilog"]

CELLS = Path(__file__).parent / "cells.v"
"""Verilog models of the cells."""

PLL = Path(__file__).parent / "pll.v"
"""Verilog model of the PLL, for a board's top."""
