# SPDX-License-Identifier: Apache-2.0
"""sim/runner.py: what a failing testbench leaves behind."""

import re
from pathlib import Path

import pytest

from hw.stream import StreamBuffer
from sim.runner import run_cocotb


@pytest.mark.parametrize("asked", [True, False])
def test_a_failure_leaves_waves_if_asked(asked: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RTLFORMER_WAVES", "1" if asked else "0")
    with pytest.raises(AssertionError) as caught:  # the bench reads a width that is not there
        run_cocotb(
            StreamBuffer(8), "sim.tb.tb_stream", testcase="keeps_every_word_in_order", source_stall=0, sink_stall=0
        )
    found = re.search(r"^waves: (.*)$", str(caught.value), re.MULTILINE)
    assert (found is not None) == asked
    if found:
        assert Path(found[1]).name == "waves.fst" and Path(found[1]).stat().st_size
