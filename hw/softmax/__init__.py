# SPDX-License-Identifier: SHL-2.1
"""The softmax engine: scores to unnormalised exponentials and the scales of their rows."""
