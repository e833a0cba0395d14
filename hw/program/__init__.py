# SPDX-License-Identifier: SHL-2.1
"""The command set, and what carries a program out: fetch, sequencer, semaphores."""
