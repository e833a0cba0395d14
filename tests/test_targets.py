# SPDX-License-Identifier: Apache-2.0
"""hw/io/targets.py."""

import zlib
from dataclasses import replace

import pytest

from hw.config import PRESETS, preset
from hw.io.targets import load_crc, load_packet_bytes, packet_header, stream_units
from hw.program.loads import PacketHeader, Target
from hw.structs import record


@pytest.mark.parametrize("name", PRESETS)
def test_stream_units_are_words_of_64_bits(name):
    config = preset(name)
    units = stream_units(config)
    assert set(units) == set(Target)
    assert units[Target.W] == config.w_words * max(config.cols * config.depth // 8, 1)
    assert units[Target.TABLE] == 512 * config.tables  # a byte has a stream word to itself
    assert stream_units(replace(config, gelu="ibert"))[Target.TABLE] == config.tables
    assert units[Target.REGION] == 1


def test_packets_hold_every_word_in_order():
    config = preset("edge")
    images = {Target.PROG: [5], Target.TABLE: [1, 255], Target.W: [(1 << 256) - 2], Target.ACT: []}
    w, table, prog = load_packet_bytes(config, images)
    assert w == packet_header(Target.W, count=4).to_bytes(8, "little") + ((1 << 256) - 2).to_bytes(32, "little")
    assert table[8:] == bytes([1, *[0] * 7, 255, *[0] * 7])
    header = record(PacketHeader, int.from_bytes(prog[:8], "little"))
    assert (header.target, header.input, header.address, header.count, header.reserved) == (Target.PROG, 0, 0, 1, 0)
    assert load_crc(config, images) == zlib.crc32(w + table + prog)
    assert load_crc(config, {}) == 0


def test_header_fields_have_24_bits():
    with pytest.raises(ValueError, match="count must have at most 24 bits, not 16777216"):
        packet_header(Target.W, count=1 << 24)
