# SPDX-License-Identifier: Apache-2.0
"""One session with a board: requests and their answers, repeated until they match."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from gen.link.errors import LinkError, NoAnswer, NotABoard, Refused
from gen.link.frames import Decoder, Frame, encode, pack, unpack
from gen.link.transport import Transport
from hw.link.protocol import MAX_PAYLOAD, VERSION, Command, Hello, Pull, Pushed, Read, Status, WordWrite, byte_count

__all__ = ["Busy", "Connection", "SessionLost", "Waiting"]

Waiting = Callable[[float, float], None]
"""Told how many seconds an answer has been waited for, and after how many it is given up."""

_WORD = 8  # bytes of a stream word
_REGISTER = 4
_FRAME = 32  # bytes of a frame besides its payload, generously
_FLASH = "flash it with this version"
_TOLD = 1.0  # seconds between two calls of Waiting


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
    patience : float
        Seconds beyond that, after which a request without answer is sent again.
    timeout : float
        Seconds after which it is given up.
    slowest : float
        It is not given up before this many times the time of its payloads: more where the line may be slower than baud.
    waiting : callable
        See :data:`Waiting`; called once a second from the first second on.

    Attributes
    ----------
    hello : dict
        What the board told of itself, see :class:`hw.link.protocol.Hello`.
    sent, received, repeated : int
        Bytes each way, and requests sent again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        name: str,
        baud: int,
        patience: float,
        timeout: float,
        slowest: float = 4.0,
        waiting: Waiting | None = None,
    ):
        self.transport, self.name = transport, name
        self._baud, self._patience, self._timeout, self._slowest = baud, patience, timeout, slowest
        self._waiting, self._told = waiting, 0.0
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
            If it speaks another version, or what it says makes no sense.
        """
        self.transport.discard()
        self._decoder = Decoder()
        self._session, self._sequence = 1 + secrets.randbelow(0xFFFF), 0xFF
        hello = unpack(Hello, self._request(Command.HELLO, b"", [byte_count(Hello)]))
        least = {"max_payload": MAX_PAYLOAD, "input_words": MAX_PAYLOAD // _WORD, "result_words": 1, "clock_hz": 1,
                 "baud": 1}  # fmt: skip
        for field, value in least.items():
            if hello[field] < value:
                self._session = 0
                raise NotABoard(f"{self.name}: says that its {field} is {hello[field]}, and no board's is; {_FLASH}")
        self.hello = hello

    def read(self, first: int, count: int) -> list[int]:
        """``count`` registers from word index ``first`` on."""
        raw = self._request(Command.READ, pack(Read, first=first, count=count), [_REGISTER * count])
        return [int.from_bytes(raw[i : i + _REGISTER], "little") for i in range(0, len(raw), _REGISTER)]

    def write(self, *writes: tuple[int, int]) -> None:
        """Registers by word index, in this order."""
        self._request(Command.WRITE, b"".join(pack(WordWrite, register=r, value=v) for r, v in writes), [0])

    def push(self, data: bytes) -> int:
        """Input words, at most MAX_PAYLOAD bytes; returns the words that still have room.

        Raises
        ------
        Busy
            If not all have room.
        """
        return unpack(Pushed, self._request(Command.PUSH, data, [byte_count(Pushed)]))["room"]

    def pull(self, words: int) -> bytes:
        """Up to ``words`` result words, as many as are there and a payload takes."""
        words = min(words, MAX_PAYLOAD // _WORD)
        return self._request(Command.PULL, pack(Pull, words=words), range(0, _WORD * words + 1, _WORD))

    def echo(self, data: bytes) -> bytes:
        """What the board makes of ``data``, which should be the same."""
        return self._request(Command.ECHO, data, [len(data)])

    def _request(self, command: Command, payload: bytes, lengths: Sequence[int]) -> bytes:
        """The payload of the answer, of one of ``lengths``, the longest last."""
        session, self._session = self._session, 0  # whatever ends this request unanswered ends the session
        if not session:
            raise SessionLost(f"{self.name}: the session with the board has ended; run again")
        sequence = (self._sequence + 1) & 0xFF
        request = Frame(session=session, sequence=sequence, command=command.value, payload=payload)
        line = encode(request)
        frames_take = 10 * (2 * len(line) + 2 * lengths[-1] + 2 * _FRAME) / self._baud
        start, self._told = self.transport.clock(), 0.0
        tries, received = 0, self.received
        end = start + max(self._timeout, self._slowest * 10 * (len(payload) + lengths[-1]) / self._baud)
        while (now := self.transport.clock()) < end or not tries:
            self.repeated += tries > 0
            tries += 1
            self.transport.write(line)
            self.sent += len(line)
            answer = self._answer(request, start, min(now + self._patience + frames_take, end), end)
            if answer is not None:
                return self._judge(answer, lengths)
        stray = self.received - received
        came = f"only {stray} bytes that are no answer" if stray else "no answer"
        raise NoAnswer(
            f"{self.name}: {came} to {command.name} in {tries} tries and {end - start:.3g} s; check cable, power, "
            "--baud and that the board's bitstream is an rtlformer one"
        )

    def _answer(self, request: Frame, start: float, deadline: float, end: float) -> Frame | None:
        wanted, clock = (request.session, request.sequence, request.command), self.transport.clock
        while (left := deadline - clock()) > 0:
            raw = self.transport.read(min(left, _TOLD))
            self.received += len(raw)
            for frame in self._decoder.feed(raw):
                if (frame.session, frame.sequence, frame.command) == wanted:
                    return frame
            if self._waiting and (waited := clock() - start) >= self._told + _TOLD:
                self._told = waited // _TOLD * _TOLD
                self._waiting(waited, end - start)
        return None

    def _judge(self, answer: Frame, lengths: Sequence[int]) -> bytes:
        if answer.status in (Status.NO_SESSION.value, Status.BAD_SEQUENCE.value):
            raise SessionLost(f"{self.name}: the board has been reset, or another program has taken it over; run again")
        if answer.status == Status.BAD_VERSION.value:
            raise NotABoard(
                f"{self.name}: the board speaks protocol version {answer.version}, this is version {VERSION}; {_FLASH}"
            )
        if len(answer.payload) not in (lengths if answer.status == Status.OK.value else [0]):
            raise NotABoard(f"{self.name}: answers, but no board answers like this ({answer}); {_FLASH}")
        self._session, self._sequence = answer.session, answer.sequence
        if answer.status == Status.BUSY.value:
            raise Busy(f"{self.name}: the board has no room for a request now; run again")
        if answer.status != Status.OK.value:
            raise Refused(f"{self.name}: the board refused a request ({answer}); {_FLASH}")
        return answer.payload
