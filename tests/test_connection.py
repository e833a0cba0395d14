# SPDX-License-Identifier: Apache-2.0
"""The host protocol between driver and gateware, on a board whose core only sends back what it is sent."""

import os
import random
import select
import time
import zlib
from dataclasses import replace
from functools import partial

import pytest

from gen.link.connection import Busy, Connection, SessionLost
from gen.link.errors import NoAnswer, NotABoard, Refused
from gen.link.frames import Decoder, Frame, encode, pack
from gen.link.transport import SerialTransport
from hw.host.registers import register
from hw.link.protocol import MAX_PAYLOAD, VERSION, Command, Hello, Status
from hw.verilog import to_verilog
from sim.board import SimulatedBoard
from sim.board.line import DirectLine
from sim.board.terminal import Terminal
from tests.link_board import RATES, VALVE, FaultyLine, Killed, Loopback

RESET = (register("CONTROL").index, register("CONTROL")["reset"].mask)
TIMEOUT = 2e-4
BAD_LINE = 0.035  # a dozen tries of a long frame, as a real port's three seconds are


@pytest.fixture(scope="module")
def verilog():
    return to_verilog(Loopback())


@pytest.fixture
def board(verilog):
    with SimulatedBoard(verilog, **RATES) as board:
        yield board


def connect(line, **options) -> Connection:
    return Connection(
        line, name="board", baud=RATES["baud"], **{"patience": TIMEOUT, "timeout": 9 * TIMEOUT, **options}
    )


def opened(board) -> Connection:
    link = connect(DirectLine(board))
    link.open()
    return link


def stuffed(body: bytes) -> bytes:
    return body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")


def ask(board, frame: Frame) -> list[Frame]:
    """What a board answers to one frame, before any driver."""
    board.send(encode(frame))
    board.run(60_000)
    return Decoder().feed(board.receive())


def test_hello_tells_what_the_link_is(board):
    link = opened(board)
    assert link.hello == {"max_payload": MAX_PAYLOAD, "input_words": 128, "result_words": 128, "reserved": 0, **RATES}
    assert board.leds & 1
    assert link.repeated == 0


def test_registers(board):
    link = opened(board)
    assert link.read(0, 255) == [3 * n for n in range(255)]
    assert link.read(250, 0) == []
    link.write((7, 0xDEADBEEF), (8, 5), (7, 1))
    assert link.read(6, 4) == [18, 1, 5, 27]
    link.write(*((100 + n, n << 20) for n in range(128)))
    assert link.read(100, 128) == [n << 20 for n in range(128)]


def test_echo_of_every_length(board):
    link, draw = opened(board), random.Random(2)
    for length in (0, 1, 2, 7, 8, 9, 255, 256, 1023, 1024):
        data = bytes(draw.choice((0x7D, 0x7E, draw.getrandbits(8))) for _ in range(length))
        assert link.echo(data) == data


def test_words_pass_in_order_and_buffers_fill(board):
    """BUSY takes nothing; a core that takes nothing does not hold up the link; a reset empties both buffers."""
    link, draw = opened(board), random.Random(3)
    data = draw.randbytes(8 * 100)
    assert link.push(data) <= 128
    board.run(2000)
    assert link.push(b"") == 128
    assert link.pull(30) == data[: 8 * 30]
    assert link.pull(500) == data[8 * 30 :]
    assert link.pull(500) == b""
    link.write((VALVE, 1))
    assert link.push(data) == 28
    with pytest.raises(Busy):
        link.push(data[: 8 * 29])
    assert link.push(data[: 8 * 28]) == 0
    with pytest.raises(Busy):
        link.push(data[:8])
    assert link.pull(500) == b"" and link.echo(b"still here") == b"still here"
    link.write((VALVE, 0))
    assert link.pull(128) == data + data[: 8 * 28]
    link.write((VALVE, 1))
    link.push(data)
    link.write(RESET)
    assert link.push(b"") == 128
    link.write((VALVE, 0))
    assert link.pull(128) == b""
    link.push(data)
    board.run(2000)
    link.write(RESET)
    assert link.pull(128) == b""
    link.push(data[:8])
    assert link.pull(128) == data[:8]


def test_results_that_nobody_pulls_wait(board):
    """A full result buffer holds the words back one by one, and loses none."""
    link, draw = opened(board), random.Random(4)
    data = draw.randbytes(8 * 300)
    pushed, full = 0, 0
    while pushed < len(data) and full < 3:
        try:
            part = data[pushed : pushed + 8 * 20]
            link.push(part)
            pushed += len(part)
        except Busy:
            full += 1
    assert pushed == 8 * 240  # the buffers hold 128 words each, and the way between them a few
    got = b""
    while part := link.pull(50):
        got += part
    assert got == data[:pushed]


def test_statuses(board):
    hello = Frame(session=0x4321, sequence=9, command=Command.HELLO.value)

    def status(**fields) -> Status:
        (answer,) = ask(board, Frame(**fields))
        assert (answer.session, answer.sequence, answer.command) == tuple(
            fields[name] for name in ("session", "sequence", "command")
        )
        assert answer.status == Status.OK.value or answer.payload == b""
        return Status(answer.status)

    echo = {"session": 0x4321, "command": Command.ECHO.value, "payload": b"x"}
    assert status(**echo, sequence=10) == Status.NO_SESSION
    assert status(session=0, sequence=0, command=Command.HELLO.value) == Status.NO_SESSION
    assert status(**{**echo, "session": 0}, sequence=1) == Status.NO_SESSION
    assert ask(board, hello)[0].status == Status.OK.value
    assert status(**echo, sequence=10, version=VERSION + 1) == Status.BAD_VERSION
    assert status(**echo, sequence=11) == Status.BAD_SEQUENCE
    assert status(**echo, sequence=9) == Status.BAD_SEQUENCE  # the number is HELLO's, the command is not
    assert status(**echo, sequence=10) == Status.OK
    assert status(**{**echo, "session": 0x4322}, sequence=11) == Status.NO_SESSION
    for number, (command, payload) in enumerate(
        [(Command.READ, b"abc"), (Command.WRITE, b"1234567"), (Command.PUSH, b"123456789"), (Command.PULL, b"")], 11
    ):
        found = status(session=0x4321, sequence=number, command=command.value, payload=payload)
        assert found == Status.BAD_LENGTH, command
    assert status(session=0x4321, sequence=15, command=99, payload=b"?") == Status.BAD_COMMAND
    assert status(session=0x4321, sequence=15, command=99, payload=b"?") == Status.BAD_COMMAND
    assert status(**echo, sequence=16) == Status.OK
    board.reset()
    assert status(**echo, sequence=17) == Status.NO_SESSION


def test_a_repeated_request_is_answered_again_and_not_done_again(board):
    link = opened(board)
    words = bytes(range(80))
    session, sequence = link._session, link._sequence
    push = Frame(session=session, sequence=sequence + 1, command=Command.PUSH.value, payload=words)
    first = ask(board, push)
    assert first and all(ask(board, push) == first for _ in range(3))
    pull = Frame(session=session, sequence=sequence + 2, command=Command.PULL.value, payload=b"\x05\x00")
    (answer,) = ask(board, pull)
    assert answer.payload == words[:40]
    assert all(ask(board, pull) == [answer] for _ in range(3))
    assert ask(board, push)[0].status == Status.BAD_SEQUENCE.value
    assert ask(board, pull) == [answer]  # refusals leave the kept answer alone
    (rest,) = ask(board, Frame(session=session, sequence=sequence + 3, command=Command.PULL.value, payload=b"\x20\x00"))
    assert rest.payload == words[40:]


def test_sequence_numbers_wrap(board):
    link = opened(board)
    for number in range(600):
        assert link.read(number % 256, 1) == [3 * (number % 256)]


def test_frames_that_are_none_are_dropped(board):
    """Too long, too short, of a wrong length or CRC: no answer, and the next request is answered."""
    link = opened(board)
    frame = Frame(session=link._session, sequence=link._sequence + 1, command=Command.ECHO.value, payload=b"hello")
    line = encode(frame)
    body = (
        bytes([VERSION])
        + (link._session).to_bytes(2, "little")
        + bytes([frame.sequence, frame.command, 0, 9, 0])
        + b"x"
    )
    for bad in (
        b"\x7e" + stuffed(body + zlib.crc32(body).to_bytes(4, "little")) + b"\x7e",
        line[:10] + bytes([line[10] ^ 1]) + line[11:],
        line[:-3] + line[-1:],
        b"\x7e" + bytes(3000) + b"\x7e",
        b"\x7e" + random.Random(1).randbytes(2047).replace(b"\x7e", b""),
        b"\x7e\x01\x7e\x7e\x7d\x7e",
        line[:-6],
    ):
        board.send(bad)
        board.run(10 * 10 * len(bad) + 5000)
        assert board.received == 0
        assert ask(board, frame)[0].payload == b"hello"
        frame = Frame(**{**vars(frame), "sequence": frame.sequence + 1})
        line = encode(frame)


def test_a_request_during_an_answer_is_dropped_and_nothing_breaks(board):
    link = opened(board)
    long = Frame(session=link._session, sequence=link._sequence + 1, command=Command.ECHO.value, payload=bytes(900))
    after = Frame(session=link._session, sequence=link._sequence + 2, command=Command.ECHO.value, payload=b"after")
    board.send(encode(long) + encode(after) * 3)
    board.run(200_000)
    assert Decoder().feed(board.receive()) == [Frame(**vars(long))]
    assert ask(board, after) == [after]


class Fake:
    """A line to something that answers each request with ``answer(request)``, bytes; its clock jumps."""

    def __init__(self, answer):
        self.answer, self.now, self.pending = answer, 0.0, b""

    def write(self, data):
        self.now += 1e-6
        (request,) = Decoder().feed(data)
        self.pending += self.answer(request)

    def read(self, seconds):
        data, self.pending = self.pending, b""
        self.now += 1e-6 if data else seconds
        return data

    def discard(self):
        self.pending = b""

    def clock(self):
        return self.now


@pytest.mark.parametrize("words", [b"", b"\x7e garbage \x7e", b"\x7e" * 100_000, random.Random(1).randbytes(100_000)])
def test_no_board_and_no_session(words):
    """Whether it says nothing or anything: the end comes in time, and waiting is told of from the first second on."""
    line, told = Fake(lambda request: words), []
    link = connect(line, patience=2.0, timeout=15.0, waiting=lambda *state: told.append(state))
    came = f"only {8 * len(words)} bytes that are no answer" if words else "no answer"
    with pytest.raises(NoAnswer, match=rf"board: {came} to HELLO in 8 tries and 15 s; check cable, power, --baud"):
        link.open()
    assert link.repeated == 7 and 15 <= line.now < 15.1
    assert 12 <= len(told) <= 15 and told[0][0] < 1.1 and all(end == 15 for _, end in told)
    with pytest.raises(SessionLost, match="the session with the board has ended"):
        link.read(0, 1)


def test_a_line_that_never_falls_silent_is_given_up_in_time():
    """Every read brings bytes, so that no read is ever the last."""
    line = Fake(lambda request: b"")
    line.read = lambda seconds: (setattr(line, "now", line.now + 1e-3), b"\x7enoise")[1]
    with pytest.raises(NoAnswer, match="only .* bytes that are no answer to HELLO"):
        connect(line, patience=2.0, timeout=15.0).open()
    assert 15 <= line.now < 15.1


def test_a_long_frame_has_time_to_pass():
    """At 9600 baud, a thousand bytes there and back take two seconds."""
    link = Connection(Fake(good), name="board", baud=9600, patience=0.1, timeout=0.5)
    link.open()
    link.transport.answer = lambda request: b""
    with pytest.raises(NoAnswer, match="in .* tries and 8.53 s"):
        link.echo(bytes(1024))


HELLO = {"max_payload": MAX_PAYLOAD, "input_words": 128, "result_words": 128, "clock_hz": 1_000_000, "baud": 9600}


def good(request: Frame, **fields) -> bytes:
    payload = pack(Hello, **{**HELLO, **fields}) if request.command == Command.HELLO.value else b""
    return encode(replace(request, payload=payload))


@pytest.mark.parametrize(
    ("ask", "right"),
    [
        (lambda link: link.open(), [16]),
        (lambda link: link.read(3, 5), [20]),
        (lambda link: link.write((3, 1)), [0]),
        (lambda link: link.push(bytes(80)), [2]),
        (lambda link: link.pull(3), [0, 8, 16, 24]),
        (lambda link: link.pull(1000), range(0, 1025, 8)),
        (lambda link: link.echo(b"abc"), [3]),
    ],
)
def test_an_answer_of_another_length_is_no_boards(ask, right):
    """For every request, every length of payload, and with a status other than OK, none."""
    for length in (*range(41), 255, *range(1000, MAX_PAYLOAD + 1)):
        for status in (Status.OK, Status.BUSY, Status.BAD_LENGTH, 77):
            link = connect(Fake(good))
            link.open()
            status = getattr(status, "value", status)
            payload = (pack(Hello, **HELLO) + bytes(MAX_PAYLOAD))[:length]
            link.transport.answer = lambda request, s=status, p=payload: encode(replace(request, status=s, payload=p))
            if status == Status.OK.value and length in right:
                ask(link)
            else:
                named = NotABoard if status == Status.OK.value or length else Busy if status == 1 else Refused
                with pytest.raises(named, match=r"board: .*; (flash it with this version|run again)"):
                    ask(link)


@pytest.mark.parametrize("field", HELLO)
def test_a_hello_that_makes_no_sense_is_no_boards(field):
    link = connect(Fake(lambda request: good(request, **{field: 0})))
    with pytest.raises(NotABoard, match=f"board: says that its {field} is 0, and no board's is; flash it"):
        link.open()
    with pytest.raises(SessionLost):
        link.read(0, 1)


def test_another_version_and_a_refusal_are_named(board, monkeypatch):
    link = opened(board)
    with pytest.raises(Refused, match=r"board: the board refused a request \(PUSH .* BAD_LENGTH 0 bytes\)"):
        link.push(b"odd")
    monkeypatch.setattr("gen.link.connection.Frame", lambda **fields: Frame(**fields, version=7))
    with pytest.raises(NotABoard, match="speaks protocol version 1, this is version"):
        link.read(0, 1)


def test_a_slow_reader_of_the_terminal(verilog):
    """More answers than a terminal holds wait for who asked; then all is as it was."""
    with Terminal(SimulatedBoard(verilog, **RATES)) as terminal:
        user = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY)
        hello = Frame(session=77, sequence=0, command=Command.HELLO.value)
        for _ in range(600):
            os.write(user, encode(hello))
        deadline = time.monotonic() + 60
        while not (terminal.board.sending == 0 and terminal.board.quiet > 10_000) and time.monotonic() < deadline:
            time.sleep(0.05)
        raw = b""
        while select.select([user], [], [], 1.0)[0]:
            raw += os.read(user, 4096)
        os.close(user)
        answers = Decoder().feed(raw)
        assert len(raw) > 5000 and len(answers) >= 150 and len(set(answers)) == 1 and answers[0].session == 77
        line = SerialTransport(terminal.path, RATES["baud"])
        link = connect(line, patience=10.0, timeout=60.0)
        link.open()
        assert link.echo(b"and on") == b"and on"
        line.close()


def test_requests_of_a_host_that_is_gone_are_not_answered_to_the_next(verilog):
    """It asked six hundred times and died: the next one hears at most the answer that was on its way."""

    def ask(user: int, session: int, times: int = 1) -> None:
        for _ in range(times):
            os.write(user, encode(Frame(session=session, sequence=0, command=Command.HELLO.value)))

    def answers(user: int, session: int) -> list[int]:
        """Sessions of the answers that come until one of ``session`` does; a board that is busy is asked again."""
        decoder, sessions = Decoder(), []
        while session not in sessions:
            if select.select([user], [], [], 1.0)[0]:
                sessions += [frame.session for frame in decoder.feed(os.read(user, 4096))]
            else:
                ask(user, session)
        return sessions

    with Terminal(SimulatedBoard(verilog, **RATES)) as terminal:
        opened = partial(os.open, terminal.path, os.O_RDWR | os.O_NOCTTY)
        user = opened()
        ask(user, 77, 600)
        os.close(user)
        while terminal._users.now or terminal.board.sending:
            time.sleep(0.01)
        user = opened()
        ask(user, 78)
        assert answers(user, 78) in ([78], [77, 78])
        ask(user, 79)
        os.close(opened())  # while one has it open, another may come and go
        assert answers(user, 79) == [79]
        os.close(user)


def test_faults_of_every_kind_leave_every_word_in_order(board):
    """Over a thousand frames on a bad line, with resets of the board: what is answered was done once."""
    line = FaultyLine(board, seed=5, rate=0.25, resets=0.004)
    link, draw = connect(line, timeout=BAD_LINE), random.Random(6)
    sent, got = b"", b""  # since the last reset
    lost = total = 0
    open_ = False
    while line.frames < 1200:
        try:
            if not open_:
                link.open()
                link.write(RESET, (VALVE, 0))
                sent = got = b""
                open_ = True
            match draw.randrange(4):
                case 0:
                    words = draw.randbytes(8 * draw.randint(0, 20))
                    try:
                        link.push(words)
                        sent += words
                    except Busy:
                        assert len(sent) - len(got) > 8 * 100
                case 1 | 2:
                    got += link.pull(draw.randint(0, 30))
                    assert sent.startswith(got), f"after {line.frames} frames, {line.faults}"
                    total += 1
                case 3:
                    value, number = draw.getrandbits(32), draw.randrange(100, 200)
                    link.write((number, value), (number + 1, 7))
                    assert link.read(number, 2) == [value, 7]
        except SessionLost:
            lost, open_ = lost + 1, False
    assert line.faults.keys() >= {f"request: {kind}" for kind in line.REQUEST}
    assert line.faults.keys() >= {f"answer: {kind}" for kind in line.ANSWER}
    assert 1 <= line.faults["board reset"] and lost >= 1 and total > 100
    assert link.repeated > 100


def test_a_host_killed_at_any_moment_leaves_the_board_usable(board):
    """Two hundred hosts, each stopped somewhere in a frame; the next one finds everything in order."""
    draw = random.Random(7)
    kills = 0
    line = FaultyLine(board, seed=8, rate=0.05, kills=0.15)
    while kills < 200:
        link = connect(line, timeout=BAD_LINE)
        try:
            link.open()
            link.write(RESET)
            words = draw.randbytes(8 * draw.randint(1, 40))
            link.push(words)
            got = b""
            while len(got) < len(words):
                got += link.pull(draw.randint(1, 50))
            assert got == words
        except Killed:
            kills += 1
            board.run(draw.randrange(20_000))
    link = connect(DirectLine(board))
    link.open()
    assert link.echo(b"well") == b"well"
