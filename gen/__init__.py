# SPDX-License-Identifier: Apache-2.0
"""From a trained checkpoint to an int8 model, a program, images, Verilog and reports; the command line."""
