# SPDX-License-Identifier: SHL-2.1
"""The LayerNorm engine: statistics of a row block, then its normalised rows, a lane for each row."""
