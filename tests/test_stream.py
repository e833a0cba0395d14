# SPDX-License-Identifier: Apache-2.0
"""Stream plumbing in simulation; tests/test_formal.py proves more of it."""

import pytest

from hw.stream import StreamBuffer
from sim.runner import run_cocotb


@pytest.mark.parametrize(("width", "source_stall", "sink_stall"), [(1, 0.5, 0.5), (16, 0.1, 0.6), (100, 0.6, 0.1)])
def test_stream_buffer(width, source_stall, sink_stall):
    run_cocotb(StreamBuffer(width), "sim.tb.tb_stream", width=width, source_stall=source_stall, sink_stall=sink_stall)
