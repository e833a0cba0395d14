# SPDX-License-Identifier: Apache-2.0
"""The report of a build, to read."""

from __future__ import annotations

from gen.fpga.nextpnr import shown

__all__ = ["markdown"]


def markdown(facts: dict) -> str:
    """``build.md`` from the contents of ``build.json``."""
    clock, rates, path = facts["clock"], facts["fmax_mhz"], facts["critical_path"]
    tools = ", ".join(f"{name} {text}" for name, text in facts["tools"].items())
    lines = [
        f"# {facts['model']} on {facts['board']}",
        "",
        f"{facts['array']} core ({facts['config']}), {facts['part']}, {facts['package']}, speed grade "
        f"{facts['speed_grade']}; rtlformer {facts['rtlformer']}, {tools}.",
        f"Configuration {facts['configuration_hash']}, model {facts['model_hash']}, host link {facts['baud']} baud.",
        "",
        "| resource (measured on the netlist) | used | of it the core | available | share |",
        "|---|---|---|---|---|",
    ]
    for name, entry in facts["resources"].items():
        if name != "kind":
            share = f"{entry['used'] / entry['available']:.0%}"
            lines.append(
                f"| {name.replace('_', ' ')} | {entry['used']} | {entry['core']} | {entry['available']} | {share} |"
            )
    cells = facts["cells"]
    lines += [
        "",
        f"LUT sites: {cells['lut4']} LUT4, 2 each for {cells['carry']} CCU2C, 6 each for {cells['lut_ram']} "
        f"TRELLIS_DPR16X4. {cells['ff']} flip-flops.",
        "",
        f"Clock: the PLL makes {clock['pll_mhz']:.4f} MHz of {clock['input_mhz']:g} MHz ({clock['asked_mhz']:g} asked "
        f"for; derived). Seed {facts['seed']} routed to {rates['chosen']:.2f} MHz (measured).",
        "",
        "| PLL, MHz | met | routed, MHz by seed (measured) |",
        "|---|---|---|",
    ]
    for attempt in facts["attempts"]:
        seeds = ", ".join(f"{shown(rate, 2)} ({seed})" for seed, rate in attempt["seeds"].items())
        lines.append(f"| {attempt['pll_mhz']:.4f} | {'yes' if attempt['met'] else 'no'} | {seeds} |")
    lines += [
        "",
        f"Seeds tried: {len(rates['seeds'])}; lowest {shown(rates['lowest'], 2)}, median {shown(rates['median'], 2)}, "
        f"highest {rates['highest']:.2f} MHz.",
        "",
        f"Critical path: {path['text']}",
        "",
        "| ns | step | at |",
        "|---|---|---|",
        *(f"| {hop['ns']:.3f} | {hop['kind']} | `{hop['at']}` |" for hop in path["hops"]),
    ]
    return "\n".join(lines) + "\n"
