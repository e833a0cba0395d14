# SPDX-License-Identifier: Apache-2.0
"""hw/ports.py: the ports that the table of memories gives its clients."""

import pytest
from amaranth.hdl import signed
from amaranth.lib import data

from hw.config import CoreConfig
from hw.ports import client_ports, read_port, write_port

CONFIG = CoreConfig(rows=2, cols=8, depth=16, drain_columns=4)


def test_ports_follow_the_table():
    assert list(client_ports(CONFIG, "norm")) == ["norm_write_act", "norm_read_res", "norm_write_res", "norm_read_norm"]
    assert list(client_ports(CONFIG, "store", "sequencer")) == ["store_read_res", "sequencer_read_prog"]
    assert list(client_ports(CONFIG, "nobody")) == []


def test_shared_ports_have_a_handshake():
    shared = {name: "ready" in port.members for name in ("RES", "CHAN") for port in [read_port(name, CONFIG)]}
    assert shared == {"RES": True, "CHAN": False}
    assert "ready" in write_port("ACT", CONFIG).members and "ready" not in write_port("PROB", CONFIG).members


def test_engines_write_beats_or_lanes():
    widths = {name: (port.members["en"].shape, len(port.create().data))
              for name in ("ACT", "RES", "PROB", "SCORE", "KV") for port in [write_port(name, CONFIG)]}  # fmt: skip
    assert widths == {"ACT": (1, 64), "RES": (1, 128), "PROB": (1, 64), "SCORE": (1, 192), "KV": (128, 1024)}


def test_a_shape_has_the_bits_of_a_word():
    beat = data.ArrayLayout(signed(16), CONFIG.lanes)
    assert read_port("RES", CONFIG, beat).members["data"].shape == beat
    with pytest.raises(ValueError, match="a port of ACT must have 64 bits, not 128"):
        write_port("ACT", CONFIG, beat)
