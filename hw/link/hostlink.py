# SPDX-License-Identifier: SHL-2.1
"""Carries out the host's requests."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.host.bus import READ_LATENCY as BUS_LATENCY
from hw.host.bus import RegisterBus
from hw.memory import READ_LATENCY, TensorMemory

from .fifo import WordFifo
from .frames import BUFFER, AnswerSender, RequestReceiver
from .protocol import MAX_PAYLOAD, VERSION, Command, Header, Hello, Pull, Pushed, Read, Status, WordWrite
from .uart import UartReceiver, UartTransmitter

__all__ = ["HostLink"]


class HostLink(wiring.Component):
    """From a serial line to a register bus and two streams of 64-bit words; :mod:`hw.link.protocol` says how.

    A request is held in a memory until its answer has been sent; frames that come meanwhile are dropped. The answer is
    kept in another memory and sent again when the request comes again. Words in both directions wait in buffers, so
    that nothing the core does or leaves undone holds up an answer.

    Parameters
    ----------
    clock_hz, baud : int
        Of the clock and of the line.
    input_words, result_words : int
        Words of the buffers: powers of two, and a whole payload for inputs.
    dense : bool
        The buffers, if small, in LUT RAM.

    Ports
    -----
    rx, tx : the line
    bus : register bus, master
    o : stream of words to the core
    i : stream of words from the core
    flush : the core is being reset: empty the buffers
    connected : a session is open
    active : a request is being carried out or answered
    spoilt : a frame was dropped for its CRC or length; one cycle

    Raises
    ------
    ValueError
        If a parameter breaks its rule.
    """

    def __init__(
        self, *, clock_hz: int, baud: int, input_words: int = 512, result_words: int = 512, dense: bool = False
    ):
        if input_words * 8 < MAX_PAYLOAD:
            raise ValueError(f"input_words must be at least {MAX_PAYLOAD // 8}, not {input_words}")
        self._dense = dense
        self._rates = {"clock_hz": clock_hz, "baud": baud}
        self._depths = {"input_words": input_words, "result_words": result_words}
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "bus": Out(RegisterBus()),
                "o": Out(stream.Signature(unsigned(64))),
                "i": In(stream.Signature(unsigned(64))),
                "flush": In(1),
                "connected": Out(1),
                "active": Out(1),
                "spoilt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(**self._rates)
        m.submodules.transmitter = transmitter = UartTransmitter(**self._rates)
        m.submodules.requests = requests = RequestReceiver()
        m.submodules.sender = sender = AnswerSender()
        m.submodules.inputs = inputs = WordFifo(depth=self._depths["input_words"], dense=self._dense)
        m.submodules.results = results = WordFifo(depth=self._depths["result_words"], dense=self._dense)
        m.submodules.answer = answer = TensorMemory(depth=BUFFER, lanes=1, granularity=8)
        wiring.connect(m, sender.o, transmitter.i)
        wiring.connect(m, inputs.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), results.i)
        request = requests.header
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            requests.valid.eq(receiver.valid),
            requests.data.eq(receiver.data),
            requests.error.eq(receiver.error),
            inputs.flush.eq(self.flush),
            results.flush.eq(self.flush),
            answer.r_addr.eq(sender.r_addr),
            sender.r_data.eq(answer.r_data),
            self.active.eq(requests.pending),
            self.spoilt.eq(requests.spoilt),
        ]

        r = _Registers()
        self._compare(m, r, request)
        self._tell(m, r, request, sender)
        self._move(m, r, request, requests.r_data, inputs.room, results.o.payload)
        m.d.comb += [
            requests.r_addr.eq(r.reading),
            answer.w_addr.eq(r.written),
            answer.w_data.eq(r.word[:8]),
            inputs.i.payload.eq(r.word),
            inputs.i.valid.eq(r.push),  # there is room
        ]
        with m.FSM():
            self._judge(m, r, request, requests)
            self._begin(m, r, request, results)
            self._act(m, r, answer)
            self._answer(m, requests, sender)
        return m

    @staticmethod
    def _compare(m: Module, r: "_Registers", request: data.View) -> None:
        """What a request is, a cycle after it stands there."""
        m.d.sync += [flag.eq(request.command == command) for command, flag in r.asks.items()]
        m.d.sync += [
            r.knows.eq(Cat(r.asks.values()).any()),
            r.whole_words.eq(request.length[:3] == 0),
            r.is_argument.eq(request.length == Read.as_shape().size // 8),
            r.named.eq(request.session != 0),
            r.same.eq((request.session == r.session) & (r.session != 0)),
            r.repeated.eq((request.sequence == r.sequence) & (request.command == r.kept_command)),
            r.in_turn.eq(request.sequence == r.following),
            r.following.eq(r.sequence + 1),
            r.known_version.eq(request.version == VERSION),
        ]

    def _tell(self, m: Module, r: "_Registers", request: data.View, sender: AnswerSender) -> None:
        """The answer's header."""
        status, length = Signal(Status), Signal(range(MAX_PAYLOAD + 1))
        with m.If(r.refusal == Status.OK):
            m.d.comb += [status.eq(r.kept_status), length.eq(r.kept_length)]
        with m.Else():
            m.d.comb += status.eq(r.refusal)
        parts = {"version": Const(VERSION, 8), "status": status, "length": length}  # the others are the request's
        m.d.comb += [getattr(sender.header, name).eq(parts.get(name, request[name])) for name, _ in Header.as_shape()]
        m.d.sync += self.connected.eq(r.session != 0)

    def _move(self, m: Module, r: "_Registers", request: data.View, byte: Value, room: Value, result: Value) -> None:
        """``word``: bytes are collected into it and emitted from it."""
        argument, most = r.word[64 - Pull.as_shape().size :], MAX_PAYLOAD // 8
        identity = Hello.const({"max_payload": MAX_PAYLOAD, "reserved": 0, **self._depths, **self._rates}).as_value()
        m.d.sync += [
            r.finished.eq(r.items == 0),
            r.pulled.eq(Mux(argument > most, most, argument)),
            self.bus.write.eq(0),
            r.push.eq(0),
            r.room.eq(room >= request.length[3:]),
            r.moves.eq(0),
            r.loads.eq(0),
        ]
        with m.If(r.asks[Command.HELLO]):
            m.d.sync += r.source.eq(Mux(r.items == 0, identity[64:], identity[:64]))
        with m.Elif(r.asks[Command.READ]):
            m.d.sync += r.source.eq(self.bus.r_data)
        with m.Elif(r.asks[Command.PULL]):
            m.d.sync += r.source.eq(result)
        with m.Elif(r.asks[Command.ECHO]):
            m.d.sync += r.source.eq(r.word[-8:])
        with m.Else():
            m.d.sync += r.source.eq(room)
        with m.If(r.loads):
            m.d.sync += r.word.eq(r.source)
        with m.Elif(r.moves):
            m.d.sync += r.word.eq(Cat(r.word[8:], byte))  # what is emitted does not mind what comes in

    @staticmethod
    def _judge(m: Module, r: "_Registers", request: data.View, requests: RequestReceiver) -> None:
        """States until a request is refused, is one that was answered, or begins."""
        with m.State("IDLE"):
            m.d.sync += [r.reading.eq(0), r.written.eq(0), r.told.eq(0), r.refusal.eq(Status.OK)]
            with m.If(requests.pending):
                m.next = "LOOK"
        with m.State("LOOK"):  # comparisons have settled
            m.next = "JUDGE"
        with m.State("JUDGE"):
            m.next = "ANSWER"
            with m.If(~r.known_version):
                m.d.sync += r.refusal.eq(Status.BAD_VERSION)
            with m.Elif(r.same & r.repeated):
                pass
            with m.Elif(Mux(r.asks[Command.HELLO], r.named, r.same & r.in_turn)):
                m.d.sync += [r.session.eq(request.session), r.sequence.eq(request.sequence)]
                m.d.sync += [r.kept_command.eq(request.command), r.kept_status.eq(Status.OK), r.kept_length.eq(0)]
                m.next = "BEGIN"
            with m.Elif(~r.same):
                m.d.sync += r.refusal.eq(Status.NO_SESSION)
            with m.Else():
                m.d.sync += r.refusal.eq(Status.BAD_SEQUENCE)

    @staticmethod
    def _begin(m: Module, r: "_Registers", request: data.View, results: WordFifo) -> None:
        """States that say what comes next: of how many items a request is made, and whether it may be."""
        with m.State("BEGIN"):
            m.next = "COUNT"
            m.d.sync += r.items.eq(request.length[3:])
            with m.If(r.asks[Command.HELLO]):
                m.d.sync += r.items.eq(Hello.as_shape().size // 64)
            with m.Elif(r.asks[Command.ECHO]):
                m.d.sync += r.items.eq(request.length)
            with m.Elif(r.asks[Command.READ] | r.asks[Command.PULL]):
                r.collect(m, Read.as_shape().size // 8)
                with m.If(~r.is_argument):
                    r.fail(m, Status.BAD_LENGTH)
            with m.Elif(~r.knows):
                r.fail(m, Status.BAD_COMMAND)
            with m.Elif(~r.whole_words):
                r.fail(m, Status.BAD_LENGTH)
            with m.Elif(r.asks[Command.PUSH] & ~r.room):
                r.fail(m, Status.BUSY)
        with m.State("COUNT"):  # `finished` has settled
            m.next = "NEXT"
        with m.State("NEXT"):
            m.d.sync += [r.items.eq(r.items - 1), r.wait.eq(0)]
            with m.If(r.finished):
                m.d.sync += [r.items.eq(0), r.told.eq(1)]
                m.next = "ANSWER"
                with m.If(r.asks[Command.PUSH] & ~r.told):
                    m.next = "SETTLE"
            with m.Elif(r.asks[Command.HELLO]):
                r.emit(m, 8)
            with m.Elif(r.asks[Command.READ]):
                m.next = "READ"
            with m.Elif(r.asks[Command.PULL]):
                m.d.comb += results.o.ready.eq(1)
                r.emit(m, 8)
                with m.If(~results.o.valid):
                    m.next = "ANSWER"
            with m.Else():
                r.collect(m, Mux(r.asks[Command.ECHO], 1, 8))

    def _act(self, m: Module, r: "_Registers", answer: TensorMemory) -> None:
        """States of one item: its bytes are collected, something is done, bytes are emitted."""
        with m.State("COLLECT"):
            m.d.sync += r.wait.eq(r.wait + 1)
            with m.If(r.wait == READ_LATENCY):
                m.d.sync += [r.moves.eq(1), r.reading.eq(r.reading + 1), r.wait.eq(0), r.left.eq(r.left - 1)]
                with m.If(r.left == 1):
                    m.next = "COLLECTED"
        with m.State("COLLECTED"):  # the last byte is on its way into `word`
            m.next = "BOUND"
        with m.State("BOUND"):  # `pulled` settles
            m.next = "ACT"
        with m.State("ACT"):
            m.next = "COUNT"
            argument = r.word[64 - Pull.as_shape().size :]
            write, read = WordWrite(r.word), Read(argument)
            m.d.sync += [self.bus.w_data.eq(write.value), self.bus.write.eq(r.asks[Command.WRITE])]
            m.d.sync += r.push.eq(r.asks[Command.PUSH])
            with m.If(r.asks[Command.READ]):
                m.d.sync += [self.bus.addr.eq(read.first), r.items.eq(read.count)]
            with m.Elif(r.asks[Command.PULL]):
                m.d.sync += r.items.eq(r.pulled)
            with m.Elif(r.asks[Command.WRITE]):
                m.d.sync += self.bus.addr.eq(write.register)
            with m.Elif(r.asks[Command.ECHO]):
                r.emit(m, 1)
        with m.State("SETTLE"):  # the last word is on its way into the buffer
            m.next = "ROOM"
        with m.State("ROOM"):  # it counts by now
            r.emit(m, Pushed.as_shape().size // 8)
        with m.State("READ"):
            m.d.sync += r.wait.eq(r.wait + 1)
            with m.If(r.wait == BUS_LATENCY):
                m.d.sync += self.bus.addr.eq(self.bus.addr + 1)
                r.emit(m, 4)
        with m.State("LOAD"):  # `items` counts those after this one
            m.d.sync += r.loads.eq(1)
            m.next = "MOVE"
        with m.State("EMIT"):
            m.d.comb += answer.w_en.eq(1)
            m.d.sync += [r.moves.eq(1), r.written.eq(r.written + 1), r.left.eq(r.left - 1)]
            m.d.sync += r.kept_length.eq(r.written + 1)
            m.next = "MOVE"
            with m.If(r.left == 1):
                m.next = "NEXT"
        with m.State("MOVE"):
            m.next = "EMIT"

    @staticmethod
    def _answer(m: Module, requests: RequestReceiver, sender: AnswerSender) -> None:
        """States in which the answer is sent."""
        with m.State("ANSWER"):  # the header has settled
            m.next = "SEND"
        with m.State("SEND"):
            m.d.comb += sender.start.eq(1)
            m.next = "SENDING"
        with m.State("SENDING"), m.If(~sender.busy):
            m.d.comb += requests.done.eq(1)
            m.next = "RELEASE"
        with m.State("RELEASE"):  # `pending` falls
            m.next = "IDLE"


class _Registers:
    """What the states of a :class:`HostLink` share."""

    def __init__(self):
        # The session; the answer that is kept; what is sent in its place unless OK.
        self.session, self.sequence, self.following = Signal(16), Signal(8), Signal(8, init=1)
        self.kept_command, self.kept_status = Signal(Command, init=Command.HELLO), Signal(Status)
        self.kept_length = Signal(range(MAX_PAYLOAD + 1))
        self.refusal = Signal(Status)
        # What the request is.
        self.named, self.same, self.repeated, self.in_turn = Signal(), Signal(), Signal(), Signal()
        self.known_version = Signal()
        self.asks = {command: Signal(name=f"asks_{command.name.lower()}") for command in Command}
        self.knows, self.whole_words, self.is_argument = Signal(), Signal(), Signal()
        # What requests are made of: bytes collected into `word`, acts, bytes emitted from it.
        self.word, self.source = Signal(64), Signal(64, reset_less=True)
        self.moves, self.loads = Signal(), Signal()  # in the next cycle `word` moves on by a byte, or takes `source`
        self.items = Signal(range(MAX_PAYLOAD + 1))  # still to come
        self.pulled = Signal(range(MAX_PAYLOAD + 1))  # of them at most, where they are words
        self.left = Signal(range(9))  # bytes of the item
        self.wait = Signal(range(max(READ_LATENCY, BUS_LATENCY) + 2))
        self.reading, self.written = Signal(range(BUFFER)), Signal(range(BUFFER))
        self.told = Signal()  # Pushed has been emitted
        self.finished, self.room, self.push = Signal(), Signal(), Signal()

    def fail(self, m: Module, status: Status) -> None:
        """Answers with ``status``."""
        m.d.sync += self.kept_status.eq(status)
        m.next = "ANSWER"

    def collect(self, m: Module, count: ValueLike) -> None:
        """Takes ``count`` bytes of the request into ``word``, then acts."""
        m.d.sync += [self.left.eq(count), self.wait.eq(0)]
        m.next = "COLLECT"

    def emit(self, m: Module, count: ValueLike) -> None:
        """Gives ``count`` bytes of ``word``, to be loaded from ``source``, to the answer."""
        m.d.sync += self.left.eq(count)
        m.next = "LOAD"
