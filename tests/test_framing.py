# SPDX-License-Identifier: Apache-2.0
"""Byte stuffing and CRC of the host link, in gateware and in the driver."""

import random
import zlib

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from hypothesis import given
from hypothesis import strategies as st

from gen.link.frames import Decoder, Frame, encode, pack, unpack
from hw.link.framing import Deframer, Framer
from hw.link.protocol import MAX_PAYLOAD, Command, Header, Hello, Status
from hw.structs import FieldError
from sim.runner import run_cocotb


class Both(wiring.Component):
    """A framer, its ports with a prefix, and a deframer."""

    def __init__(self):
        framer = {f"framer_{name}": member for name, member in Framer().signature.members.items()}
        super().__init__(framer | dict(Deframer().signature.members.items()))

    def elaborate(self, platform):
        m = Module()
        m.submodules.framer, m.submodules.deframer = framer, deframer = Framer(), Deframer()
        for name, _ in framer.signature.members.items():
            wiring.connect(m, wiring.flipped(getattr(self, f"framer_{name}")), getattr(framer, name))
        m.d.comb += [getattr(deframer, name).eq(getattr(self, name)) for name in ("valid", "data", "error")]
        names = ("begins", "o_valid", "o_data", "ends", "good")
        m.d.comb += [getattr(self, name).eq(getattr(deframer, name)) for name in names]
        return m


def test_framing():
    run_cocotb(Both(), "sim.tb.tb_framing")


frames = st.builds(
    Frame,
    session=st.integers(0, 0xFFFF),
    sequence=st.integers(0, 0xFF),
    command=st.integers(0, 0xFF),
    status=st.integers(0, 0xFF),
    payload=st.binary(max_size=60) | st.lists(st.sampled_from(b"\x7d\x7e\x5e"), max_size=20).map(bytes),
)


@given(st.lists(frames, max_size=5), st.binary(max_size=20), st.integers(1, 7))
def test_what_is_encoded_is_decoded(sent, junk, piece):
    """In pieces of any size, behind bytes of any kind."""
    line = junk.replace(b"\x7e", b"") + b"".join(map(encode, sent))
    decoder = Decoder()
    assert [f for i in range(0, len(line), piece) for f in decoder.feed(line[i : i + piece])] == sent


def test_a_flipped_bit_is_never_a_frame():
    frame = Frame(session=0x1234, sequence=5, command=Command.ECHO.value, payload=bytes(range(100, 140)))
    line = encode(frame)
    for number in range(8 * len(line)):
        spoilt = bytearray(line)
        spoilt[number // 8] ^= 1 << number % 8
        assert frame not in (got := Decoder().feed(bytes(spoilt))) and not got
    draw = random.Random(1)
    for _ in range(200):  # frames of random bytes with a right CRC, but for a header that does not suit them
        body = draw.randbytes(draw.randrange(20))
        body += zlib.crc32(body).to_bytes(4, "little")
        decoder = Decoder()
        assert decoder.feed(b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e") == []
        assert decoder.dropped == 1


def test_limits():
    longest = Frame(session=1, sequence=0, command=Command.ECHO.value, payload=bytes([0x7E]) * MAX_PAYLOAD)
    assert Decoder().feed(encode(longest)) == [longest]
    with pytest.raises(ValueError, match="at most 1024 bytes, not 1025"):
        encode(Frame(session=1, sequence=0, command=1, payload=bytes(1025)))
    with pytest.raises(FieldError, match=r"field session of Header holds 0\.\.65535 and 65536 is needed"):
        encode(Frame(session=1 << 16, sequence=0, command=1))
    with pytest.raises(KeyError, match="Header has no field sesion"):
        pack(Header, sesion=1)
    with pytest.raises(ValueError, match="Hello must have 16 bytes, not 3"):
        unpack(Hello, b"abc")


def test_frames_tell_what_they_are():
    assert str(Frame(session=0xAB, sequence=3, command=4, status=1)) == "PUSH 00ab:3 BUSY 0 bytes"
    assert str(Frame(session=1, sequence=3, command=99, status=77)) == "Command 99 0001:3 Status 77 0 bytes"
    assert Status.OK.value == 0
