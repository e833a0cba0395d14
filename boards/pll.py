# SPDX-License-Identifier: Apache-2.0
"""The ECP5's PLL: which clocks it can make of a board's, exactly, within the limits of its data sheet."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from gen.errors import InputError

__all__ = ["INPUT_HZ", "OUTPUT_HZ", "PHASE_HZ", "VCO_HZ", "Pll", "fastest"]

INPUT_HZ = (8_000_000, 400_000_000)
PHASE_HZ = (10_000_000, 400_000_000)
"""Rates of the phase detector."""
VCO_HZ = (400_000_000, 800_000_000)
OUTPUT_HZ = (3_125_000, 400_000_000)
_DIVIDERS = range(1, 129)


@dataclass(frozen=True, kw_only=True)
class Pll:
    """One EHXPLLL: output = input / ``reference`` * ``multiplier`` / ``output``, all exact.

    The loop closes over CLKOP, whose divider is thereby the multiplier, and CLKOS is the output: that leaves all three
    free, where an output inside the loop would tie two together.

    Raises
    ------
    ValueError
        If a divider or one of the rates is out of its range.
    """

    input_hz: int
    reference: int
    multiplier: int
    output: int

    def __post_init__(self) -> None:
        for name in ("reference", "multiplier", "output"):
            if getattr(self, name) not in _DIVIDERS:
                raise ValueError(f"{name} must lie in 1..128, not {getattr(self, name)!r}")
        rates = (
            ("input", Fraction(self.input_hz), INPUT_HZ),
            ("phase detector", self.phase_hz, PHASE_HZ),
            ("oscillator", self.vco_hz, VCO_HZ),
            ("output", self.hz, OUTPUT_HZ),
        )
        for name, rate, (low, high) in rates:
            if not low <= rate <= high:
                raise ValueError(f"{name} rate must lie in {low}..{high} Hz, not {float(rate):.0f}")

    @property
    def phase_hz(self) -> Fraction:
        """Of the phase detector."""
        return Fraction(self.input_hz, self.reference)

    @property
    def vco_hz(self) -> Fraction:
        """Of the oscillator."""
        return self.phase_hz * self.multiplier

    @property
    def hz(self) -> Fraction:
        """Of the output."""
        return self.vco_hz / self.output

    @property
    def mhz(self) -> float:
        """Of the output."""
        return float(self.hz / 1_000_000)

    def parameters(self) -> dict[str, int | str]:
        """Parameters of the EHXPLLL that differ from board to board."""
        return {
            "CLKI_DIV": self.reference,
            "CLKFB_DIV": 1,
            "FEEDBK_PATH": "CLKOP",
            "CLKOP_DIV": self.multiplier,
            "CLKOP_CPHASE": self.multiplier // 2,
            "CLKOS_DIV": self.output,
            "CLKOS_CPHASE": 0,
        }


def fastest(input_hz: int, at_most_hz: float | Fraction) -> Pll:
    """The PLL of the fastest output not above ``at_most_hz``; among several the one of the fastest phase detector.

    Raises
    ------
    InputError
        If there is none: a rate outside the PLL's range.
    """
    limit = min(Fraction(at_most_hz), Fraction(OUTPUT_HZ[1]))
    best: Pll | None = None
    for reference in _DIVIDERS:
        phase = Fraction(input_hz, reference)
        if phase < PHASE_HZ[0]:
            break
        for multiplier in _DIVIDERS:
            vco = phase * multiplier
            if not VCO_HZ[0] <= vco <= VCO_HZ[1]:
                continue
            output = -(-vco // limit)  # the smallest divider that stays below the limit
            if output not in _DIVIDERS or vco / output < OUTPUT_HZ[0]:
                continue
            found = Pll(input_hz=input_hz, reference=reference, multiplier=multiplier, output=int(output))
            if best is None or found.hz > best.hz:
                best = found
    if best is None:
        raise InputError(
            f"--clock: {float(at_most_hz) / 1e6:g} MHz is below what the PLL makes of {input_hz / 1e6:g} MHz; "
            f"ask for {OUTPUT_HZ[0] / 1e6:g} MHz or more"
        )
    return best
