# SPDX-License-Identifier: SHL-2.1
"""Streams in and out of a core's memories."""
