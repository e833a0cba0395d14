# SPDX-License-Identifier: SHL-2.1
"""Integer arithmetic that several engines share: products, requantisation, division, square root."""
