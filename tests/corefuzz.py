# SPDX-License-Identifier: Apache-2.0
"""What a core may be told wrongly: cases of steps, each with the errors it must name, and a right run behind it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from gen.model.randommodel import random_rows
from gen.program.image import Image
from hw.core import ERRORS
from hw.io.targets import packet_header, stream_units
from hw.program.loads import Target
from sim.qmodel import QuantModel

__all__ = ["BARE", "HOSTED", "Case", "cases", "mask"]


def mask(*names: str) -> int:
    """Bits of :data:`hw.core.ERRORS`."""
    return sum(1 << list(ERRORS).index(name) for name in set(names))


@dataclass
class Case:
    """``steps`` go before the right run, which has ``tokens`` and sends ``packet``.

    Steps: ["send", words], ["length", n], ["start"], ["wait", cycles], ["reset"], ["errors", bits of this case],
    and ["result", number of an input]: a pass of earlier steps gives its result here.
    """

    kind: str
    tokens: int
    number: int
    packet: list[int]
    steps: list[list] = field(default_factory=list)
    errors: int = 0
    """Bits that must be set since the last reset."""
    started: bool = False
    """The pass of the right run has been asked for by the steps."""
    loads: bool = False
    """A packet that is no input is among them."""


class _Maker:
    def __init__(self, image: Image, model: QuantModel, seed: int):
        self.image, self.draw = image, random.Random(seed)
        self.units = stream_units(image.config)
        self.inputs = [random_rows(model, 1 + n % model.max_tokens, seed=n) for n in range(4 * model.max_tokens)]
        self.packets = [[int(word) for word in image.input_packet(x)] for x in self.inputs]

    def words(self, count: int) -> list[int]:
        return [self.draw.getrandbits(64) for _ in range(count)]

    def wrong_count(self, packet: list[int]) -> list[int]:
        """An input packet of another length, well formed otherwise."""
        right, block = len(packet) - 1, self.image.input_words(1) - 1
        most = self.image.input_words(self.image.max_tokens) - 1
        choices = {0, 1, right - 1, right + 1, right - block, right + block, most + 1, 2 * most} - {right}
        count = self.draw.choice([count for count in choices if count >= 0])
        target, address = self.image.input.target, (packet[0] >> 5) & 0xFFFFFF
        return [packet_header(target, address=address, count=count, is_input=True), *self.words(count)]

    def elsewhere(self, packet: list[int]) -> list[int]:
        """An input packet to another place."""
        address = (packet[0] >> 5) & 0xFFFFFF
        other = self.draw.choice([t for t in Target if t != self.image.input.target])
        target, address = self.draw.choice(
            [(other, address), (other, 0), (self.image.input.target, address + 1), (self.image.input.target, 1 << 20)]
        )
        header = packet_header(target, address=address, count=len(packet) - 1, is_input=True)
        return [header, *self.words(len(packet) - 1)]

    def nonsense(self) -> list[int]:
        """A packet for no memory, or with reserved bits; input or not."""
        count = self.draw.choice([0, 1, 2, self.draw.randrange(40)])
        header = packet_header(Target.W, count=count, address=self.draw.choice([0, 5]))
        header |= self.draw.choice([1 << self.draw.randint(53, 63), self.draw.randint(9, 15)])
        return [header | self.draw.getrandbits(1) << 4, *self.words(count)]

    def beyond(self) -> list[int]:
        """A load all of whose words lie beyond their memory."""
        target = self.draw.choice(list(Target))
        address = self.draw.choice([self.units[target], 2 * self.units[target], (1 << 24) - 64])
        count = self.draw.randint(1, 20)
        return [packet_header(target, address=address, count=count), *self.words(count)]

    def bad_packet(self, packet: list[int]) -> tuple[list[int], str]:
        """One that must have no effect, and the error it is."""
        kind = self.draw.randrange(5)
        if kind == 0:
            return self.nonsense(), "header"
        if kind == 1:
            return self.beyond(), "range"
        return (self.elsewhere(packet) if kind == 2 else self.wrong_count(packet)), "input"

    def case(self, kind: str) -> Case:
        number = self.draw.randrange(len(self.packets))
        case = Case(kind, len(self.inputs[number]), number, self.packets[number])
        getattr(self, f"_{kind}")(case)
        return case

    def _packets(self, case: Case) -> None:
        """Some wrong packets, the pass begun before, between or after them."""
        wrong = [self.bad_packet(case.packet) for _ in range(self.draw.randint(1, 4))]
        case.steps = [["length", case.tokens], *(["send", packet] for packet, _ in wrong)]
        case.errors, case.started = mask(*(name for _, name in wrong)), self.draw.random() < 0.7
        case.loads = any(not packet[0] >> 4 & 1 for packet, _ in wrong)
        if case.started:
            case.steps.insert(self.draw.randint(1, len(case.steps)), ["start"])

    def _lengths(self, case: Case) -> None:
        """Passes asked for with lengths that the program does not take."""
        most = self.image.config.max_tokens
        for _ in range(self.draw.randint(1, 3)):
            wrong = self.draw.choice([0, self.image.max_tokens + 1, most + 1, 0x800, 0xFFF])
            case.steps += [["length", wrong], ["start"], ["wait", self.draw.randint(1, 30)]]
        case.errors = mask("length")

    def _refusals(self, case: Case) -> None:
        """Lengths that registers do not take."""
        for _ in range(self.draw.randint(1, 3)):
            case.steps.append(["length", self.draw.choice([0, self.image.config.max_tokens + 1, 0x8001, 0xFFFF])])

    def _limits(self, case: Case) -> None:
        """A length that registers take and the program does not: the pass never begins, and a reset ends it."""
        wrong = self.draw.randint(self.image.max_tokens + 1, self.image.config.max_tokens)
        case.steps = [["length", wrong], ["start"], ["wait", 80], ["errors", mask("length")], ["reset"]]

    def _changes(self, case: Case) -> None:
        """A pass whose length is changed under way gives its result all the same."""
        other = self.draw.randrange(len(self.packets))
        values = [0, 1, self.image.max_tokens, 0xFFF]
        case.steps = [["length", len(self.inputs[other])], ["start"], ["send", self.packets[other]]]
        for _ in range(self.draw.randint(1, 3)):
            case.steps += [["wait", self.draw.randint(3, 60)], ["length", self.draw.choice(values)]]
        case.steps.append(["result", other])

    def _resets(self, case: Case) -> None:
        """A reset at any moment of a pass and of its input."""
        other = self.draw.randrange(len(self.packets))
        cut = self.packets[other][: self.draw.randrange(len(self.packets[other]) + 1)]
        case.steps = [["length", len(self.inputs[other])], ["start"], ["send", cut]]
        case.steps += [["wait", self.draw.choice([0, 1, 7, self.draw.randrange(1500)])], ["reset"]]

    def _cuts(self, case: Case) -> None:
        """A packet cut short, whose place the next packet's words take; then a reset."""
        packet, _ = self.bad_packet(case.packet) if self.draw.random() < 0.5 else (case.packet, "")
        case.steps = [["length", case.tokens], ["start"], ["send", packet[: self.draw.randrange(1, len(packet) + 1)]]]
        case.steps += [["wait", self.draw.randint(0, 100)], ["reset"]]


BARE = ("packets", "packets", "packets", "lengths", "changes", "resets", "cuts")
HOSTED = ("packets", "packets", "packets", "refusals", "limits", "changes", "resets", "cuts")
"""Kinds of cases, for a core at its pins and behind registers."""


def cases(image: Image, model: QuantModel, count: int, *, seed: int, kinds: tuple[str, ...]):
    """``count`` cases, and the inputs that they name by number."""
    maker = _Maker(image, model, seed)
    return [maker.case(kinds[number % len(kinds)]) for number in range(count)], maker.inputs
