# SPDX-License-Identifier: SHL-2.1
"""The host link: a framed byte protocol over a UART, down to register accesses and stream words of the core."""
