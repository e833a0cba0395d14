# SPDX-License-Identifier: Apache-2.0
"""Frames of the host protocol, as bytes: :mod:`hw.link.protocol` is the declaration."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum

from amaranth.lib import data

from hw import structs
from hw.link.protocol import (
    CRC_BYTES,
    ESCAPE,
    ESCAPE_XOR,
    FLAG,
    HEADER_BYTES,
    MAX_PAYLOAD,
    VERSION,
    Command,
    Header,
    Status,
    byte_count,
)

__all__ = ["Decoder", "Frame", "encode", "pack", "unpack"]

_STUFFED = {byte: bytes([ESCAPE, byte ^ ESCAPE_XOR]) for byte in (FLAG, ESCAPE)}


def pack(struct: type[data.Struct], **fields: int) -> bytes:
    """``fields`` as the bytes of a layout, the others 0."""
    return structs.pack(struct, fields).to_bytes(byte_count(struct), "little")


def unpack(struct: type[data.Struct], raw: bytes) -> dict[str, int]:
    """The fields of a layout's bytes, enumerations as numbers: what comes over a wire may be no member."""
    size = byte_count(struct)
    if len(raw) != size:
        raise ValueError(f"{struct.__name__} must have {size} bytes, not {len(raw)}")
    values = structs.unpack(struct, int.from_bytes(raw, "little"))
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame, header and payload. ``command`` and ``status`` are as received, known or not."""

    session: int
    sequence: int
    command: int
    status: int = Status.OK.value
    payload: bytes = b""
    version: int = VERSION

    def __str__(self) -> str:
        def name(enum, value: int) -> str:
            return enum(value).name if value in enum._value2member_map_ else f"{enum.__name__} {value}"

        return (
            f"{name(Command, self.command)} {self.session:04x}:{self.sequence} {name(Status, self.status)} "
            f"{len(self.payload)} bytes"
        )


def encode(frame: Frame) -> bytes:
    """The bytes of a frame on the line, both flags included.

    Raises
    ------
    ValueError
        If the payload is longer than MAX_PAYLOAD.
    """
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(f"A payload must have at most {MAX_PAYLOAD} bytes, not {len(frame.payload)}")
    header = {name: value for name, value in vars(frame).items() if name != "payload"}
    body = pack(Header, **header, length=len(frame.payload)) + frame.payload
    body += zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    return bytes([FLAG]) + b"".join(_STUFFED.get(byte) or bytes([byte]) for byte in body) + bytes([FLAG])


class Decoder:
    """Finds the frames in a stream of bytes that comes in pieces; what is no whole, right frame is dropped.

    Attributes
    ----------
    dropped : int
        Frames dropped for their CRC or length, runs of stray bytes between frames included.
    """

    def __init__(self):
        self._body: bytearray | None = None  # of the frame that has begun
        self._escaped = False
        self.dropped = 0

    def feed(self, received: bytes) -> list[Frame]:
        """The frames that these bytes complete."""
        frames = []
        for byte in received:
            if byte == FLAG:
                if self._body:
                    frame = None if self._escaped else self._parse(bytes(self._body))
                    self.dropped += frame is None
                    frames += [frame] if frame else []
                self._body, self._escaped = bytearray(), False
            elif self._body is None or len(self._body) > HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES:
                continue
            elif byte == ESCAPE:
                self._escaped = True
            else:
                self._body.append(byte ^ ESCAPE_XOR if self._escaped else byte)
                self._escaped = False
        return frames

    @staticmethod
    def _parse(body: bytes) -> Frame | None:
        content, crc = body[:-CRC_BYTES], body[-CRC_BYTES:]
        if len(content) < HEADER_BYTES or zlib.crc32(content).to_bytes(CRC_BYTES, "little") != crc:
            return None
        header = unpack(Header, content[:HEADER_BYTES])
        if header.pop("length") != len(content) - HEADER_BYTES:
            return None
        return Frame(payload=content[HEADER_BYTES:], **header)
