# SPDX-License-Identifier: SHL-2.1
"""Carries out the host's requests."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
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

        # --- session; the answer that is kept, and the one that is sent
        session, sequence, following = Signal(16), Signal(8), Signal(8, init=1)
        kept_command, kept_status = Signal(Command, init=Command.HELLO), Signal(Status)
        kept_length = Signal(range(MAX_PAYLOAD + 1))
        refusal = Signal(Status)  # sent in place of the kept answer unless OK
        status, length = Signal(Status), Signal(range(MAX_PAYLOAD + 1))
        with m.If(refusal == Status.OK):
            m.d.comb += [status.eq(kept_status), length.eq(kept_length)]
        with m.Else():
            m.d.comb += status.eq(refusal)
        parts = {"version": Const(VERSION, 8), "status": status, "length": length}  # the others are the request's
        m.d.comb += [getattr(sender.header, name).eq(parts.get(name, request[name])) for name, _ in Header.as_shape()]
        named, same, repeated, in_turn = Signal(), Signal(), Signal(), Signal()
        known_version = Signal()
        asks = {command: Signal(name=f"asks_{command.name.lower()}") for command in Command}
        knows, whole_words, is_argument = Signal(), Signal(), Signal()
        m.d.sync += [flag.eq(request.command == command) for command, flag in asks.items()]
        m.d.sync += [
            knows.eq(Cat(asks.values()).any()),
            whole_words.eq(request.length[:3] == 0),
            is_argument.eq(request.length == Read.as_shape().size // 8),
            self.connected.eq(session != 0),
            named.eq(request.session != 0),
            same.eq((request.session == session) & (session != 0)),
            repeated.eq((request.sequence == sequence) & (request.command == kept_command)),
            in_turn.eq(request.sequence == following),
            following.eq(sequence + 1),
            known_version.eq(request.version == VERSION),
        ]

        # --- what requests are made of: bytes collected into `word`, acts, bytes emitted from it
        word, source = Signal(64), Signal(64, reset_less=True)
        moves, loads = Signal(), Signal()  # in the next cycle `word` moves on by a byte, or takes `source`
        items = Signal(range(MAX_PAYLOAD + 1))  # still to come
        left = Signal(range(9))  # bytes of the item
        wait = Signal(range(max(READ_LATENCY, BUS_LATENCY) + 2))
        reading, written = Signal(range(BUFFER)), Signal(range(BUFFER))
        told = Signal()  # Pushed has been emitted
        finished, room, push = Signal(), Signal(), Signal()
        identity = Hello.const({"max_payload": MAX_PAYLOAD, "reserved": 0, **self._depths, **self._rates}).as_value()
        argument, most = word[64 - Pull.as_shape().size :], MAX_PAYLOAD // 8
        pulled = Signal.like(items, name="pulled")
        m.d.comb += [
            requests.r_addr.eq(reading),
            answer.w_addr.eq(written),
            answer.w_data.eq(word[:8]),
            inputs.i.payload.eq(word),
            inputs.i.valid.eq(push),  # there is room
        ]
        m.d.sync += [
            finished.eq(items == 0),
            pulled.eq(Mux(argument > most, most, argument)),
            self.bus.write.eq(0),
            push.eq(0),
            room.eq(inputs.room >= request.length[3:]),
            moves.eq(0),
            loads.eq(0),
        ]
        with m.If(asks[Command.HELLO]):
            m.d.sync += source.eq(Mux(items == 0, identity[64:], identity[:64]))
        with m.Elif(asks[Command.READ]):
            m.d.sync += source.eq(self.bus.r_data)
        with m.Elif(asks[Command.PULL]):
            m.d.sync += source.eq(results.o.payload)
        with m.Elif(asks[Command.ECHO]):
            m.d.sync += source.eq(word[-8:])
        with m.Else():
            m.d.sync += source.eq(inputs.room)
        with m.If(loads):
            m.d.sync += word.eq(source)
        with m.Elif(moves):
            m.d.sync += word.eq(Cat(word[8:], requests.r_data))  # what is emitted does not mind what comes in

        def fail(status):
            m.d.sync += kept_status.eq(status)
            m.next = "ANSWER"

        def collect(count):
            m.d.sync += [left.eq(count), wait.eq(0)]
            m.next = "COLLECT"

        def emit(count):
            m.d.sync += left.eq(count)
            m.next = "LOAD"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [reading.eq(0), written.eq(0), told.eq(0), refusal.eq(Status.OK)]
                with m.If(requests.pending):
                    m.next = "LOOK"
            with m.State("LOOK"):  # comparisons have settled
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "ANSWER"
                with m.If(~known_version):
                    m.d.sync += refusal.eq(Status.BAD_VERSION)
                with m.Elif(same & repeated):
                    pass
                with m.Elif(Mux(asks[Command.HELLO], named, same & in_turn)):
                    m.d.sync += [session.eq(request.session), sequence.eq(request.sequence)]
                    m.d.sync += [kept_command.eq(request.command), kept_status.eq(Status.OK), kept_length.eq(0)]
                    m.next = "BEGIN"
                with m.Elif(~same):
                    m.d.sync += refusal.eq(Status.NO_SESSION)
                with m.Else():
                    m.d.sync += refusal.eq(Status.BAD_SEQUENCE)
            with m.State("BEGIN"):
                m.next = "COUNT"
                m.d.sync += items.eq(request.length[3:])
                with m.If(asks[Command.HELLO]):
                    m.d.sync += items.eq(Hello.as_shape().size // 64)
                with m.Elif(asks[Command.ECHO]):
                    m.d.sync += items.eq(request.length)
                with m.Elif(asks[Command.READ] | asks[Command.PULL]):
                    collect(Read.as_shape().size // 8)
                    with m.If(~is_argument):
                        fail(Status.BAD_LENGTH)
                with m.Elif(~knows):
                    fail(Status.BAD_COMMAND)
                with m.Elif(~whole_words):
                    fail(Status.BAD_LENGTH)
                with m.Elif(asks[Command.PUSH] & ~room):
                    fail(Status.BUSY)
            with m.State("COUNT"):  # `finished` has settled
                m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [items.eq(items - 1), wait.eq(0)]
                with m.If(finished):
                    m.d.sync += [items.eq(0), told.eq(1)]
                    m.next = "ANSWER"
                    with m.If(asks[Command.PUSH] & ~told):
                        m.next = "SETTLE"
                with m.Elif(asks[Command.HELLO]):
                    emit(8)
                with m.Elif(asks[Command.READ]):
                    m.next = "READ"
                with m.Elif(asks[Command.PULL]):
                    m.d.comb += results.o.ready.eq(1)
                    emit(8)
                    with m.If(~results.o.valid):
                        m.next = "ANSWER"
                with m.Else():
                    collect(Mux(asks[Command.ECHO], 1, 8))
            with m.State("COLLECT"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == READ_LATENCY):
                    m.d.sync += [moves.eq(1), reading.eq(reading + 1), wait.eq(0), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "COLLECTED"
            with m.State("COLLECTED"):  # the last byte is on its way into `word`
                m.next = "BOUND"
            with m.State("BOUND"):  # `pulled` settles
                m.next = "ACT"
            with m.State("ACT"):
                m.next = "COUNT"
                write, read = WordWrite(word), Read(argument)
                m.d.sync += [self.bus.w_data.eq(write.value), self.bus.write.eq(asks[Command.WRITE])]
                m.d.sync += push.eq(asks[Command.PUSH])
                with m.If(asks[Command.READ]):
                    m.d.sync += [self.bus.addr.eq(read.first), items.eq(read.count)]
                with m.Elif(asks[Command.PULL]):
                    m.d.sync += items.eq(pulled)
                with m.Elif(asks[Command.WRITE]):
                    m.d.sync += self.bus.addr.eq(write.register)
                with m.Elif(asks[Command.ECHO]):
                    emit(1)
            with m.State("SETTLE"):  # the last word is on its way into the buffer
                m.next = "ROOM"
            with m.State("ROOM"):  # it counts by now
                emit(Pushed.as_shape().size // 8)
            with m.State("READ"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == BUS_LATENCY):
                    m.d.sync += self.bus.addr.eq(self.bus.addr + 1)
                    emit(4)
            with m.State("LOAD"):  # `items` counts those after this one
                m.d.sync += loads.eq(1)
                m.next = "MOVE"
            with m.State("EMIT"):
                m.d.comb += answer.w_en.eq(1)
                m.d.sync += [moves.eq(1), written.eq(written + 1), left.eq(left - 1)]
                m.d.sync += kept_length.eq(written + 1)
                m.next = "MOVE"
                with m.If(left == 1):
                    m.next = "NEXT"
            with m.State("MOVE"):
                m.next = "EMIT"
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
        return m
