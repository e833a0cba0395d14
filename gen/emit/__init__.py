# SPDX-License-Identifier: Apache-2.0
"""What a generated accelerator consists of: Verilog, register map, headers, descriptions, and the folder they go in."""
