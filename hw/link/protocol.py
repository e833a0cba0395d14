# SPDX-License-Identifier: SHL-2.1
"""The host protocol: frames, header, commands and statuses, declared once for gateware, driver and documentation.

A frame is ``FLAG``, header, payload, CRC-32 of header and payload (lowest byte first), ``FLAG``. Between the flags
(RFC 1662), the bytes ``FLAG`` and ``ESCAPE`` are sent as ``ESCAPE`` and the byte exclusive-or ``ESCAPE_XOR``. One flag
may end a frame and begin the next; frames without bytes are nothing. All integers are little-endian.

The host asks, the board answers; the host sends the next request when it has the answer. A request with a wrong CRC or
length, or cut short, is no request: the board drops it without a word and the host, after a time, sends it again.

A session begins with HELLO, whose header carries a session number that the host draws at random, other than 0. Every
later request carries it and, in ``sequence``, one more than the request before (modulo 256). The board acts on a
request once: it keeps its last answer, and a request with session, sequence and command of that one is given it again
and otherwise ignored. So the host may repeat a request as often as it likes. Answers bear session, sequence and command
of their request, by which the host drops late ones. A board that was reset has no session and refuses everything but
HELLO.

The core is reset by a WRITE of CONTROL.reset, which also empties both streams' buffers, long before its answer comes.
"""

from amaranth.hdl import Shape, unsigned
from amaranth.lib import data, enum

__all__ = [
    "CRC_BYTES", "ESCAPE", "ESCAPE_XOR", "FLAG", "HEADER_BYTES", "MAX_PAYLOAD", "VERSION",
    "Command", "Header", "Hello", "Pull", "Pushed", "Read", "Status", "WordWrite", "byte_count",
]  # fmt: skip

VERSION = 1
FLAG = 0x7E
ESCAPE = 0x7D
ESCAPE_XOR = 0x20
MAX_PAYLOAD = 1024
"""Bytes; a frame with more is dropped."""
CRC_BYTES = 4


class Command(enum.Enum, shape=8):
    """What a request asks for."""

    HELLO = 1  # open a session; answer: Hello. Touches nothing but the link
    READ = 2  # payload Read; answer: that many 32-bit registers
    WRITE = 3  # payload: any number of WordWrite, done in order
    PUSH = 4  # payload: 64-bit words for the core's input stream; answer: Pushed. BUSY unless there is room for all
    PULL = 5  # payload Pull; answer: 64-bit words of the core's output stream, as many as are there, perhaps none
    ECHO = 6  # answer: the payload


class Status(enum.Enum, shape=8):
    """How it went; other than OK, nothing was done and the answer's payload is empty."""

    OK = 0
    BUSY = 1  # no room now
    NO_SESSION = 2  # the board has been reset, or another host has opened a session
    BAD_SEQUENCE = 3  # neither the last request's sequence number nor the next
    BAD_COMMAND = 4  # no such command
    BAD_LENGTH = 5  # the payload's length does not suit the command
    BAD_VERSION = 6  # the board speaks another version: the header's


class Header(data.Struct):
    """The first bytes of every frame."""

    version: unsigned(8)
    session: unsigned(16)
    sequence: unsigned(8)
    command: Command
    status: Status  # of an answer; 0 in a request
    length: unsigned(16)  # bytes of payload


class Hello(data.Struct):
    """Payload of the answer to HELLO."""

    max_payload: unsigned(16)  # bytes
    input_words: unsigned(16)  # capacity of the input stream's buffer
    result_words: unsigned(16)  # capacity of the output stream's buffer
    reserved: unsigned(16)
    clock_hz: unsigned(32)  # of the core
    baud: unsigned(32)


class Read(data.Struct):
    """Payload of READ."""

    first: unsigned(8)  # register: byte offset / 4
    count: unsigned(8)


class WordWrite(data.Struct):
    """One register write of WRITE."""

    register: unsigned(8)  # byte offset / 4
    reserved: unsigned(24)
    value: unsigned(32)


class Pushed(data.Struct):
    """Payload of the answer to PUSH."""

    room: unsigned(16)  # words free in the input stream's buffer: Hello.input_words once the core has taken them all


class Pull(data.Struct):
    """Payload of PULL."""

    words: unsigned(16)  # at most; more than fit in a payload are as many as fit


def byte_count(struct: type[data.Struct]) -> int:
    """Bytes of a header or payload."""
    return Shape.cast(data.Layout.cast(struct)).width // 8


HEADER_BYTES = byte_count(Header)
