# SPDX-License-Identifier: Apache-2.0
"""One session with a board: requests and their answers, repeated until they match."""

from __future__ import annotations

import secrets

from gen.link.errors import LinkError, NoAnswer, NotABoard, Refused
from gen.link.frames import Decoder, Frame, encode, pack, unpack
from gen.link.transport import Transport
from hw.link.protocol import MAX_PAYLOAD, VERSION, Command, Hello, Pull, Pushed, Read, Status, WordWrite

__all__ = ["Busy", "Connection", "SessionLost"]

_WORD = 8  # bytes of a stream word
_REGISTER = 4
_FRAME = 32  # bytes of a frame besides its payload, generously


class SessionLost(LinkError):
    """The board knows our session no more: it was reset, or another host has opened one. Not all may have been done."""


class Busy(LinkError):
    """The board has no room now; nothing was done."""


class Connection:
    """Requests, each done exactly once or ended by an error.

    Parameters
    ----------
    transport : Transport
    name : str
        Of the port, for messages.
    baud : int
        By which the time that frames take is reckoned.
    timeout : float
        Seconds that an answer may take beyond that.
    retries : int
        Repetitions of a request that is not answered.

    Attributes
    ----------
    hello : dict
        What the board told of itself, see :class:`hw.link.protocol.Hello`.
    sent, received, repeated : int
        Bytes each way, and requests sent again.
    """

    def __init__(self, transport: Transport, *, name: str, baud: int, timeout: float, retries: int):
        self.transport, self.name = transport, name
        self._baud, self._timeout, self._retries = baud, timeout, retries
        self._session = self._sequence = 0
        self._decoder = Decoder()
        self.hello: dict[str, int] = {}
        self.sent = self.received = self.repeated = 0

    def open(self) -> None:
        """Begin a session.

        Raises
        ------
        NoAnswer
            If the board does not answer.
        NotABoard
            If it speaks another version.
        """
        self.transport.discard()
        self._decoder = Decoder()
        self._session, self._sequence = 1 + secrets.randbelow(0xFFFF), 0xFF
        self.hello = unpack(Hello, self._request(Command.HELLO, b"", 16))

    def read(self, first: int, count: int) -> list[int]:
        """``count`` registers from word index ``first`` on."""
        raw = self._request(Command.READ, pack(Read, first=first, count=count), _REGISTER * count)
        if len(raw) != _REGISTER * count:
            raise NotABoard(
                f"{self.name}: answered {len(raw)} bytes for {count} registers; flash a board of this version"
            )
        return [int.from_bytes(raw[i : i + _REGISTER], "little") for i in range(0, len(raw), _REGISTER)]

    def write(self, *writes: tuple[int, int]) -> None:
        """Registers by word index, in this order."""
        self._request(Command.WRITE, b"".join(pack(WordWrite, register=r, value=v) for r, v in writes), 0)

    def push(self, data: bytes) -> int:
        """Input words, at most MAX_PAYLOAD bytes; returns the words that still have room.

        Raises
        ------
        Busy
            If not all have room.
        """
        return unpack(Pushed, self._request(Command.PUSH, data, 2))["room"]

    def pull(self, words: int) -> bytes:
        """Up to ``words`` result words, as many as are there and a payload takes."""
        words = min(words, MAX_PAYLOAD // _WORD)
        return self._request(Command.PULL, pack(Pull, words=words), _WORD * words)

    def echo(self, data: bytes) -> bytes:
        """What the board makes of ``data``, which should be the same."""
        return self._request(Command.ECHO, data, len(data))

    def _request(self, command: Command, payload: bytes, answer_bytes: int) -> bytes:
        session, self._session = self._session, 0  # whatever ends this request unanswered ends the session
        if not session:
            raise SessionLost(f"{self.name}: the session with the board has ended; run again")
        sequence = (self._sequence + 1) & 0xFF
        request = Frame(session=session, sequence=sequence, command=command.value, payload=payload)
        line = encode(request)
        patience = self._timeout + 10 * (2 * len(line) + 2 * answer_bytes + 2 * _FRAME) / self._baud
        for attempt in range(self._retries + 1):
            self.repeated += attempt > 0
            self.transport.write(line)
            self.sent += len(line)
            answer = self._answer(request, patience)
            if answer is not None:
                return self._judge(answer)
        raise NoAnswer(
            f"{self.name}: no answer to {command.name} in {self._retries + 1} tries of {patience:.2g} s; check cable, "
            "power, --baud and that the board's bitstream is an rtlformer one"
        )

    def _answer(self, request: Frame, patience: float) -> Frame | None:
        wanted = (request.session, request.sequence, request.command)
        deadline = self.transport.clock() + patience
        while (left := deadline - self.transport.clock()) > 0:
            raw = self.transport.read(left)
            self.received += len(raw)
            for frame in self._decoder.feed(raw):
                if (frame.session, frame.sequence, frame.command) == wanted:
                    return frame
        return None

    def _judge(self, answer: Frame) -> bytes:
        if answer.status in (Status.NO_SESSION.value, Status.BAD_SEQUENCE.value):
            raise SessionLost(f"{self.name}: the board has been reset, or another program has taken it over; run again")
        if answer.status == Status.BAD_VERSION.value:
            raise NotABoard(
                f"{self.name}: the board speaks protocol version {answer.version}, this is version {VERSION}; "
                "flash it with this version"
            )
        self._session, self._sequence = answer.session, answer.sequence
        if answer.status == Status.BUSY.value:
            raise Busy(f"{self.name}: the board has no room for a request now; run again")
        if answer.status != Status.OK.value:
            raise Refused(f"{self.name}: the board refused a request ({answer}); flash it with this version")
        return answer.payload
