# SPDX-License-Identifier: Apache-2.0
"""From Verilog to a netlist and its place on a chip: Yosys, nextpnr, and what is done to the netlist between them."""
