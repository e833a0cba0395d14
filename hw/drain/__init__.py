# SPDX-License-Identifier: SHL-2.1
"""The array and what stands around it: feeder before, drain with activation and row maximum behind."""
