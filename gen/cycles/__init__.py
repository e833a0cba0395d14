# SPDX-License-Identifier: Apache-2.0
"""The cycle model: how long a program takes, without running the Verilog."""
