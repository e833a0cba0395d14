# SPDX-License-Identifier: Apache-2.0
"""Testbench of :class:`hw.program.sequencer.Sequencer`: whole command streams against an interpreter."""

import random
from dataclasses import dataclass

import cocotb
from cocotb.triggers import RisingEdge

from hw import structs
from hw.memory import READ_LATENCY
from hw.program import commands, instructions, isa
from hw.program.commands import COMMANDS, SEMAPHORES_OF
from hw.program.dispatch import QUEUE_DEPTH
from hw.program.instructions import INSTRUCTIONS, NO_HARDWARE, Opcode
from hw.program.isa import SEMAPHORES, When
from sim.tb import parameters, start, tick
from sim.tb.streams import StreamSink

ENGINES = {
    Opcode.ARRAY: ("array", ("a", "b", "out", "res", "chan")),
    Opcode.SOFTMAX: ("softmax", ("head",)),
    Opcode.NORM: ("norm", ("src", "act", "res", "norm")),
    Opcode.STORE: ("store", ("src",)),
}
COMMAND = {opcode: COMMANDS[INSTRUCTIONS[opcode].goes_to] for opcode in ENGINES}
WORDS = {Opcode.ARRAY: 7, Opcode.SOFTMAX: 2, Opcode.NORM: 6, Opcode.STORE: 3}
UNBUILT = {name for struct, names in NO_HARDWARE.items() if not hasattr(struct, names[0]) for name in names}
EVENTS = ("wait0", "wait1", "signal0", "signal1")
REDIRECT = READ_LATENCY + 4  # cycles from the word that redirects the fetch to the first word after it, as documented


@dataclass
class Instruction:
    """Of an engine: literal fields, and (base, outer, inner) of each operand."""

    opcode: Opcode
    sync: dict
    fields: dict
    operands: list


@dataclass
class Loop:
    """A count of None is the number of row blocks."""

    outer: int | None
    inner: int | None
    lag: int
    body: list


# --- the contract: what a program's words are, and what they mean


def _bits(struct, fields: dict) -> int:
    """``fields`` as laid out by ``struct``; those of other structs are left out."""
    return structs.pack(struct, {name: value for name, value in fields.items() if name in structs.fields_of(struct)})


def _encode(program: list) -> list[int]:
    words = []
    for item in program:
        if isinstance(item, Loop):
            body = _encode(item.body)
            turns: dict[str, int] = {}
            for name, count in (("outer", item.outer), ("inner", item.inner)):
                # A run-time count leaves its literal open.
                turns |= {name: random.getrandbits(12) if count is None else count, f"{name}_rows": count is None}
            words += [
                _bits(instructions.Loop, {"opcode": Opcode.LOOP, "lag": item.lag, "body": len(body)} | turns),
                *body,
            ]
        else:
            names = ENGINES[item.opcode][1]
            unbuilt = {name: random.getrandbits(1) for name in NO_HARDWARE[isa.Operand]}
            operands = [
                dict(zip(("base", "outer", "inner"), operand, strict=True)) | unbuilt for operand in item.operands
            ]
            values = item.fields | dict(zip(names, operands, strict=True)) | {"opcode": item.opcode, "sync": item.sync}
            # What has no hardware the sequencer must not look at.
            values |= {name: random.getrandbits(1) for name in UNBUILT if name not in values}
            words += [_bits(struct, values) for struct in INSTRUCTIONS[item.opcode].words]
            assert len(words) and len(INSTRUCTIONS[item.opcode].words) == WORDS[item.opcode]
    return words


def _interpret(program: list, lengths: dict) -> list[tuple[Opcode, int]]:
    """Engine and command, in program order."""
    commands = []
    for item in program:
        if not isinstance(item, Loop):
            commands.append(_resolve(item, lengths, 0, 0, 1, 1))
            continue
        outer, inner = (lengths["row_blocks"] if count is None else count for count in (item.outer, item.inner))
        for t in range(outer * inner + item.lag):
            for instruction in item.body:
                u = t - instruction.sync["lag"]
                if 0 <= u < outer * inner:
                    commands.append(_resolve(instruction, lengths, u // inner, u % inner, outer, inner))
    return commands


def _resolve(instruction: Instruction, lengths: dict, i: int, j: int, outer: int, inner: int) -> tuple[Opcode, int]:
    names = ENGINES[instruction.opcode][1]
    values = dict(instruction.fields)
    ends = {"INNER_FIRST": j == 0, "INNER_LAST": j == inner - 1, "OUTER_FIRST": i == 0, "OUTER_LAST": i == outer - 1}
    ends |= {f"{end}": ends[f"INNER_{end}"] and ends[f"OUTER_{end}"] for end in ("FIRST", "LAST")}
    ends |= {"ALWAYS": True, "NEVER": False}
    for role in ("wait", "signal"):
        events = [instruction.sync[name] for name in EVENTS if name.startswith(role)]
        values[role] = sum({1 << event["semaphore"] for event in events if ends[event["when"].name]})
    for name, (base, by_outer, by_inner) in zip(names, instruction.operands, strict=True):
        values[name] = (base + i * by_outer + j * by_inner) % (1 << parameters()["address_bits"])
    if instruction.opcode == Opcode.ARRAY:
        values["n"] = lengths["key_tiles"] if values["n_keys"] else values["n"]
        values["k"] = lengths["key_words"] if values["k_keys"] else values["k"]
        if values["pending"] == 7:
            values["pending"] = min(lengths["row_blocks"] - 1, 6)
    if instruction.opcode == Opcode.STORE:
        values["last"] = ends["LAST"]
    return instruction.opcode, _bits(COMMAND[instruction.opcode], values)


# --- random programs


def _random_fields(kind) -> dict:
    """Literals of an instruction with hardware; enumerated ones take members with hardware."""
    fields = {}
    for name in kind.literals:
        place = kind.place(name)
        lacking = NO_HARDWARE.get(place.shape if place.enum else kind.struct_of(name), ())
        if place.enum:
            fields[name] = random.choice([member for member in place.shape if member.name not in lacking])
        elif name not in lacking:
            value = random.getrandbits(place.width)
            fields[name] = random.choice([value, value, 0, place.high])
    return fields


def _random_sync(kind) -> dict:
    """Semaphores of the instruction's engine; what NEVER counts may name any."""
    sync = {"lag": 0, "acts": random.choice(list(When))}  # `acts` has no hardware
    for name in EVENTS:
        when = random.choice(list(When))
        own = [int(s) for s in SEMAPHORES_OF[kind.engine][name.startswith("signal")]]
        sync[name] = {"semaphore": random.choice(range(SEMAPHORES) if when == When.NEVER else own), "when": when}
    return sync


def _random_instruction(opcode: Opcode | None = None) -> Instruction:
    opcode = opcode or random.choice(list(ENGINES))
    kind = INSTRUCTIONS[opcode]
    top = (1 << 20) - 1, (1 << 18) - 1, (1 << 18) - 1
    operands = [
        tuple(random.choice([random.randint(0, limit), random.randint(0, 40), limit]) for limit in top)
        for _ in ENGINES[opcode][1]
    ]
    return Instruction(opcode, _random_sync(kind), _random_fields(kind), operands)


def _random_loop(room: int) -> Loop:
    """Of at most ``room`` words."""
    budget = min(random.choice([2, 3, 10, 40, 255]), room - 1)
    counts = [random.choice([None, 1, 2, 3, random.randint(1, 9)]) for _ in range(2)]
    if budget > 10:  # long bodies get few turns
        counts[random.randrange(2)] = random.choice([1, 2])
    loop = Loop(counts[0], counts[1], random.choice([0, 0, 1, 2, isa.LAG_MAX]), [])
    while True:
        instruction = _random_instruction()
        if WORDS[instruction.opcode] > budget:
            if loop.body:
                return loop
            instruction = _random_instruction(Opcode.SOFTMAX)  # the shortest body there is: two words
        instruction.sync["lag"] = random.randint(0, isa.LAG_MAX)
        budget -= WORDS[instruction.opcode]
        loop.body.append(instruction)


def _random_program(words: int) -> list:
    """Of at most ``words`` words with its END, often exactly so many."""
    program, room = [], words - 1 if random.random() < 0.5 else random.randint(0, words - 1)
    while room >= 2:
        item = _random_loop(room) if room >= 3 and random.random() < 0.6 else _random_instruction()
        size = len(_encode([item]))
        if size > room:
            item = _random_instruction(Opcode.SOFTMAX)
            size = 2
        program.append(item)
        room -= size
    return program


def _random_lengths() -> dict:
    """The four are independent here: the sequencer is not the one that knows how they follow from each other."""
    return {
        "tokens": random.getrandbits(12),
        "row_blocks": random.choice([1, 2, 3, 6, 7, 8, 12]),
        "key_tiles": random.getrandbits(12),
        "key_words": random.randint(1, 1023),
    }


# --- the bench


class Bench:
    """The device with its program memory."""

    def __init__(self, dut, *stalls: float):
        self.dut = dut
        self.program: list[int] = []
        self.sinks: dict[Opcode, StreamSink] = {}
        for code, stall in zip(ENGINES, stalls or [0.0] * len(ENGINES), strict=True):
            self.attach(code, stall)
        cocotb.start_soon(self._memory())

    def attach(self, code: Opcode, stall: float):
        """An engine whose stall is 1 is not there yet."""
        if stall < 1:
            self.sinks[code] = StreamSink(self.dut, ENGINES[code][0], stall=stall)

    async def _memory(self):
        """Two cycles from address to data; rubbish outside the program."""
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        word = 0
        while True:
            await edge
            dut.prog_data.value = word
            address = int(dut.prog_addr.value)
            word = self.program[address] if address < len(self.program) else random.getrandbits(64)

    def load(self, program: list, lengths: dict):
        self.program = [*_encode(program), _bits(instructions.End, {"opcode": Opcode.END})]
        self.dut.lengths.value = _bits(commands.Lengths, lengths)

    async def run(self, passes: int):
        """Holds ``run`` until the last pass has begun; returns when it has been dispatched."""
        dut = self.dut
        dut.run.value = 1
        for number in range(passes):
            while not int(dut.busy.value):
                await tick(dut)
            if number == passes - 1:
                dut.run.value = 0
            while int(dut.busy.value):
                await tick(dut)

    async def check(self, expected: list[tuple[Opcode, int]]):
        for code, sink in self.sinks.items():
            for number, word in enumerate([word for engine, word in expected if engine == code]):
                [got] = await sink.receive(1)
                assert got == word, f"{code.name} command {number}: {_difference(COMMAND[code], got, word)}"
        await tick(self.dut, 30)
        for sink in self.sinks.values():
            await sink.expect_nothing(0)


def _difference(struct, got: int, expected: int) -> str:
    found, wanted = structs.unpack(struct, got), structs.unpack(struct, expected)
    pairs = {name: (found[name], wanted[name]) for name in wanted}
    return ", ".join(f"{name} is {g}, not {e}" for name, (g, e) in pairs.items() if g != e)


@cocotb.test()
async def commands_equal_the_contract(dut):
    """Random programs, one to three passes each, engines that refuse commands for long at times."""
    await start(dut, limit=200_000)
    bench = Bench(dut, *parameters()["stalls"])
    for _ in range(parameters()["programs"]):
        program, lengths, passes = _random_program(parameters()["words"]), _random_lengths(), random.randint(1, 3)
        bench.load(program, lengths)
        expected = _interpret(program, lengths) * passes
        await bench.run(passes)
        await bench.check(expected)


@cocotb.test()
async def empty_program(dut):
    """END alone: passes follow one another, and nothing is dispatched."""
    await start(dut, limit=200_000)
    bench = Bench(dut)
    bench.load([], _random_lengths())
    await bench.run(5)
    await bench.check([])


@cocotb.test()
async def long_loops(dut):
    """The largest trip counts and strides: indices and products lose no bit."""
    await start(dut, limit=200_000)
    bench = Bench(dut)
    for outer, inner in ((4095, 1), (1, 4095), (64, 63)):
        body = [_random_instruction(Opcode.SOFTMAX)]
        body[0].operands = [((1 << 20) - 1, (1 << 18) - 1, (1 << 18) - 3)]
        body[0].sync["lag"] = 2
        program, lengths = [Loop(outer, inner, 2, body)], _random_lengths()
        bench.load(program, lengths)
        await bench.run(1)
        await bench.check(_interpret(program, lengths))


@cocotb.test()
async def lags_beyond_the_trip_count(dut):
    """Every lag of loop and instruction with every small trip count: skipping on both ends, overlapping too."""
    await start(dut, limit=200_000)
    bench = Bench(dut, 0.2, 0.2, 0.2, 0.2)
    lags = range(isa.LAG_MAX + 1)
    for trips in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (None, 1), (1, None)):
        program = []
        for lag in lags:
            body = [_random_instruction(random.choice([Opcode.SOFTMAX, Opcode.STORE])) for _ in lags]
            for instruction, own in zip(body, lags, strict=True):
                instruction.sync["lag"] = own
            program += [Loop(*trips, lag, body), _random_instruction(Opcode.STORE)]
        while len(_encode(program)) >= parameters()["words"]:
            del program[random.randrange(len(program))]
        lengths = _random_lengths() | {"row_blocks": 3}
        bench.load(program, lengths)
        await bench.run(2)
        await bench.check(_interpret(program, lengths) * 2)


@cocotb.test()
async def a_refusing_engine_holds_up_only_what_follows(dut):
    """QUEUE_DEPTH of its commands wait; other engines get all that stands before the next one, nothing behind it."""
    await start(dut, limit=200_000)
    stuck = random.choice([Opcode.SOFTMAX, Opcode.STORE])
    other = Opcode.STORE if stuck == Opcode.SOFTMAX else Opcode.SOFTMAX
    program = [_random_instruction(code) for _ in range(QUEUE_DEPTH + 3) for code in (stuck, other)]
    while len(_encode(program)) >= parameters()["words"]:
        program.pop()
    lengths = _random_lengths()
    expected = _interpret(program, lengths)
    bench = Bench(dut, *(float(code == stuck) for code in ENGINES))
    bench.load(program, lengths)
    cocotb.start_soon(bench.run(1))
    await tick(dut, 100)
    got = await bench.sinks[other].receive(QUEUE_DEPTH)
    assert got == [word for code, word in expected if code == other][:QUEUE_DEPTH]
    await bench.sinks[other].expect_nothing(50)
    assert int(dut.busy.value) == 1
    bench.attach(stuck, 0.0)
    await bench.check([item for item in expected if item[0] == stuck] + [
        (other, word) for word in [word for code, word in expected if code == other][QUEUE_DEPTH:]
    ])  # fmt: skip


@cocotb.test()
async def one_word_a_cycle(dut):
    """Within a loop and across its turns a command takes as many cycles as it has words; a redirection costs more."""
    await start(dut, limit=200_000)
    bench = Bench(dut)
    times = {code: [] for code in ENGINES}
    cocotb.start_soon(_watch(dut, times))
    before, after = (_random_instruction(Opcode.SOFTMAX) for _ in range(2))
    for code, body_words in ((Opcode.SOFTMAX, 2), (Opcode.STORE, 3), (Opcode.NORM, 6), (Opcode.ARRAY, 7)):
        trips = 30
        program = [before, Loop(5, 6, 0, [_random_instruction(code)]), after]
        lengths = _random_lengths()
        bench.load(program, lengths)
        for log in times.values():
            log.clear()
        await bench.run(2)
        await bench.check(_interpret(program, lengths) * 2)
        turns, rest = times[code], list(times[Opcode.SOFTMAX])
        if code == Opcode.SOFTMAX:
            turns, rest = turns[1 : 1 + trips], [rest[0], rest[1 + trips], rest[2 + trips], rest[-1]]
        turns = turns[:trips]
        assert [b - a for a, b in zip(turns, turns[1:], strict=False)] == [body_words] * (trips - 1)
        entry = turns[0] - rest[0] - 1 - body_words  # idle cycles, less the LOOP word's own
        leaving = rest[1] - turns[-1] - 2
        restart = rest[2] - rest[1] - 1 - 2
        dut._log.info(f"{code.name}: idle cycles at loop entry {entry}, at exit {leaving}, between passes {restart}")
        assert (entry, leaving, restart) == (REDIRECT - 1, REDIRECT - 1, REDIRECT)


async def _watch(dut, times: dict):
    """Cycle of each command's transfer."""
    edge, cycle = RisingEdge(dut.clk), 0
    valid = {code: getattr(dut, f"{name}__valid") for code, (name, *_) in ENGINES.items()}
    while True:
        await edge
        cycle += 1
        for code, handle in valid.items():
            if int(handle.value):
                times[code].append(cycle)
