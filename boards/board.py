# SPDX-License-Identifier: Apache-2.0
"""The boards, as data: part, clock, pins, programmer. Pins come from amaranth-boards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from amaranth.build import Attrs, Resource
from amaranth.vendor import LatticePlatform
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource
from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_85F_Platform

from boards.programmer import DfuUtil, OpenFpgaLoader, Programmer
from gen.errors import InputError
from gen.fpga.synth import PARTS, Part
from gen.link.device import BAUD
from hw.link.board import LEDS

__all__ = ["BOARDS", "DEFAULT", "Board", "Pin", "board"]

_PACKAGES = {"BG381": "CABGA381", "MG285": "CSFBGA285"}  # Lattice's short names, and nextpnr's


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One bit of a port of the top: where it is, how its buffer is set, and whether low means 1."""

    port: str
    site: str
    attributes: dict[str, str]
    inverted: bool


Place = tuple[str, int] | tuple[str, int, str]
"""A resource of amaranth-boards: name, number and perhaps which of its signals."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Board:
    """What there is to know of a board.

    Attributes
    ----------
    platform : of amaranth-boards: part, package, speed grade, pins
    clock, uart, button : resources; the button resets
    leds : resource for each status light, by its name in :data:`hw.link.board.LEDS`
    high : outputs that are held high
    extra : resources that the platform does not have
    mhz : clock that is built for unless another is asked for
    baud : of the host link
    pack : options of ecppack
    note : what its users must know
    """

    name: str
    title: str
    platform: type[LatticePlatform]
    clock: Place
    uart: Place
    button: Place
    leds: dict[str, Place]
    high: tuple[Place, ...] = ()
    extra: tuple[Resource, ...] = ()
    mhz: float
    baud: int = BAUD
    programmer: Programmer
    pack: tuple[str, ...] = ("--compress",)
    note: str = ""
    _requested: dict = field(default_factory=dict, repr=False)

    @property
    def part(self) -> Part:
        """What the FPGA holds."""
        return PARTS[self.platform.device.lower()]

    @property
    def package(self) -> str:
        """As nextpnr calls it."""
        return _PACKAGES[self.platform.package]

    @property
    def speed_grade(self) -> int:
        """6 is the slowest, 8 the fastest."""
        return int(self.platform.speed)

    @cached_property
    def clock_hz(self) -> int:
        """Of the oscillator on the board."""
        return round(self._resources.lookup(*self.clock[:2]).clock.frequency)

    @cached_property
    def pins(self) -> tuple[Pin, ...]:
        """Every pin of the top, in the order of its ports."""
        uart = self.uart
        places = [("clk_in", self.clock), ("button", self.button), ("rx", (*uart, "rx")), ("tx", (*uart, "tx"))]
        places += [(f"led[{i}]" if len(self.leds) > 1 else "led", place) for i, place in enumerate(self.leds.values())]
        places += [(f"high[{i}]" if len(self.high) > 1 else "high", place) for i, place in enumerate(self.high)]
        return tuple(self._pin(port, place) for port, place in places)

    @cached_property
    def _resources(self) -> LatticePlatform:
        platform = self.platform()
        platform.add_resources(self.extra)
        return platform

    def _pin(self, port: str, place: Place) -> Pin:
        name, number, *signal = place
        if (name, number) not in self._requested:
            self._requested[name, number] = self._resources.request(name, number, dir="-")
        found = self._requested[name, number]
        for part in signal:
            found = getattr(found, part)
        (metadata,), (inverted,) = found.io.metadata, found.invert
        attributes = {key: str(value) for key, value in metadata.attrs.items()}
        return Pin(port=port, site=metadata.name, attributes=attributes, inverted=inverted)

    def constraints(self) -> str:
        """Logical preferences (.lpf) for nextpnr: pins and the input clock, from which it derives the PLL's."""
        lines = []
        for pin in self.pins:
            settings = "".join(f" {key}={value}" for key, value in pin.attributes.items())
            lines += [f'LOCATE COMP "{pin.port}" SITE "{pin.site}";', f'IOBUF PORT "{pin.port}"{settings};']
        lines.append(f'FREQUENCY PORT "clk_in" {self.clock_hz} HZ;')
        return "\n".join(lines) + "\n"


def _ulx3s(platform: type[LatticePlatform], *, size: str, mhz: float) -> Board:
    return Board(
        name=f"ulx3s-{size}f",
        title=f"Radiona ULX3S, {size}F",
        platform=platform,
        clock=("clk25", 0),
        uart=("uart", 0),
        button=("button_fire", 0),
        leds={name: ("led", number) for number, name in enumerate(LEDS)},
        high=(("esp32", 0, "gpio0"),),  # low would let the ESP32 beside it take the board over
        mhz=mhz,
        programmer=OpenFpgaLoader(board="ulx3s", vendor_product="0x0403:0x6015", size=f"{size}K"),
        note="Serial port and programmer are the same USB socket, US1.",
    )


BOARDS = {
    entry.name: entry
    for entry in (
        _ulx3s(ULX3S_85F_Platform, size="85", mhz=120),
        _ulx3s(ULX3S_25F_Platform, size="25", mhz=90),
        Board(
            name="orangecrab-85f",
            title="OrangeCrab r0.2.1, 85F",
            platform=OrangeCrabR0_2_85FPlatform,
            clock=("clk", 0),
            uart=("uart", 0),
            button=("button", 0),
            leds={"error": ("rgb_led", 0, "r"), "alive": ("rgb_led", 0, "g"), "array": ("rgb_led", 0, "b")},
            extra=(UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33")),),
            mhz=120,
            programmer=DfuUtil(vendor_product="1209:5af0"),
            pack=("--compress", "--freq", "38.8"),
            note="Its USB has no serial bridge: a 3.3 V USB-serial adapter goes to pins 0 (its TX) and 1 (its RX).",
        ),
    )
}
DEFAULT = "ulx3s-85f"


def board(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    InputError
        If it is unknown.
    """
    if name.lower() not in BOARDS:
        raise InputError(f"{name or '--board'}: unknown board; choose one of {', '.join(BOARDS)}")
    return BOARDS[name.lower()]
