# SPDX-License-Identifier: SHL-2.1
"""The hardware: Amaranth components only; knows nothing of checkpoints, files or boards."""
