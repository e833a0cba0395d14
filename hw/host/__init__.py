# SPDX-License-Identifier: SHL-2.1
"""A core's registers, and the bus that a host reaches them by."""
