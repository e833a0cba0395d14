# SPDX-License-Identifier: Apache-2.0
"""The reference of the registers, ``docs/registers.md``, written from :mod:`hw.host.registers`.

``python -m gen.emit.regdoc > docs/registers.md`` renews it; a test holds the two together.
"""

from __future__ import annotations

from hw.config import CoreConfig
from hw.host.registers import QUEUE_WORDS, REGISTERS, STREAM_REGISTERS, Access, Field, Register, facts, reset_value

__all__ = ["markdown"]

_ACCESSES = {
    Access.RO: "read only: writes are refused, or ignored where other fields of the register can be written",
    Access.RW: "read and write",
    Access.W1C: "writing 1 clears it, writing 0 leaves it",
    Access.PULSE: "writing 1 acts once; reads as 0",
    Access.ADD: "what is written is added",
    Access.WO: "writing acts; reads as 0",
    Access.POP: "reading acts",
    Access.ZERO: "writing anything sets it to 0",
}

_INTRODUCTION = """\
Registers have 32 bits and stand at consecutive multiples of 4. Bits that no field covers read as 0 and ignore writes. A
64-bit value is two registers, the low half (`_LO`) first. A hash is the number that the first 16 hexadecimal digits of
a SHA-256 write. Counters count modulo 2^32 unless they say otherwise."""

_USE = """\
1. Read ID, VERSION.map and CONFIG_HASH: a program made for another configuration does not run here.
2. The model is in the memories from power-up where the core was generated with one: MODEL_HASH tells which, and
   LOAD_CRC is then what its manifest says. For another one, while STATUS.idle is set: write LOAD_CRC, send the model's
   load packets, wait until STATUS.busy has no loader, compare LOAD_CRC with the model's, write its hash to MODEL_HASH.
3. Write SEQ_LEN, the tokens of the inputs to come, and the number of inputs to PASSES (or CONTROL.start for one).
4. Send that many input packets; results leave on the output stream in the same order. Packets may be sent before or
   after the request.
5. STATUS.done is set, and the interrupt raised if CONTROL.irq_enable is, when a result's last word has left.
   FRAMES_DONE counts them, STATUS.idle says that nothing is left to do.
6. STATUS.error says that something was refused, and ERRORS what; it had no effect on any result. An input packet that
   was refused is missing: its pass waits for another one. A pass that was refused for its length (the model takes fewer
   tokens than the core) does not begin: CONTROL.reset forgets it.

A start while a pass is running is kept (PASSES tells how many are), so that inputs follow one another without a gap. A
new SEQ_LEN holds back passes not yet begun until those in flight have ended: it never changes a result under way, but
it applies to every pass not yet begun, so write it when PASSES is 0.

CONTROL.reset ends everything under way within 8 cycles, words buffered on the streams included; the next word of the
input stream is then taken for a packet's header. The reset pin resets all registers too, MODEL_HASH and LOAD_CRC
excepted: memories keep their contents in either case."""

_AXI = """\
Module `rtlformer_axi`: the registers on AXI4-Lite (`s_axil_*`, 12-bit byte addresses), load packets on `s_axis_*`,
results on `m_axis_*`, with `m_axis_tlast` on a result's last word. Answers other than OKAY are SLVERR; such an access
does nothing, and a read returns 0:

- an address that is no register's, or no multiple of 4;
- a write to a register without a field that can be written;
- a write whose strobes are not all set (none at all included).

`s_axil_awprot` and `s_axil_arprot` are ignored. A pass whose results are not taken waits, and so does every pass after
it; registers answer all the same."""

_WISHBONE = f"""\
Module `rtlformer_wishbone`: a Wishbone B4 slave of 32 bits with byte addresses (12 bits), for classic and pipelined
masters. It has the registers above, and these windows onto the streams, each with a queue of {QUEUE_WORDS} words of 64
bits. `wb_err_o` answers, and nothing happens:

- an address that is no register's, or no multiple of 4;
- a write to a register without a field that can be written;
- a write that does not select all four bytes;
- PUSH_HI while STREAM_STATUS.input_room is 0, PULL_LO and PULL_HI while STREAM_STATUS.output_words is 0.

STATUS.done is set when a result's last word has entered the output queue, so a result of up to {QUEUE_WORDS} words can
then be read without looking at STREAM_STATUS. CONTROL.reset empties both queues."""


def markdown(
    config: CoreConfig | None = None, *, model_hash: int = 0, load_crc: int = 0, wrapper: str | None = None
) -> str:
    """The whole document: of cores in general, or of one core, with its own values and its ``wrapper`` alone."""
    known = facts(config, model_hash, load_crc) if config else None
    parts = ["# Registers"]
    if config is None:
        parts.append(
            "Written by `python -m gen.emit.regdoc` from `hw/host/registers.py`, where every register is declared "
            "once:\ngateware, driver, C header and this page are derived from it."
        )
    parts += [
        _INTRODUCTION,
        _table(REGISTERS, known),
        "Access: " + "; ".join(f"{name} = {_ACCESSES[name]}" for name in _accesses(REGISTERS)) + ".",
    ]
    if config is None:
        parts.append("A reset value in *italics* is the property of the core that has this name.")
    parts += ["## Fields", *_sections(REGISTERS, known), "## Use", _USE]
    if wrapper in ("axi", None):
        parts += ["## AXI top", _AXI]
    if wrapper in ("wishbone", None):
        parts += [
            "## Wishbone top",
            _WISHBONE,
            _table(STREAM_REGISTERS, known),
            "Access: " + "; ".join(f"{name} = {_ACCESSES[name]}" for name in _accesses(STREAM_REGISTERS)) + ".",
            *_sections(STREAM_REGISTERS, known),
        ]
    return "\n\n".join(parts) + "\n"


def _accesses(registers: tuple[Register, ...]) -> dict[str, None]:
    return dict.fromkeys(field.access for reg in registers for field in reg.fields)


def _table(registers: tuple[Register, ...], known: dict[str, int] | None) -> str:
    lines = ["| offset | register | access | after reset | |", "|---|---|---|---|---|"]
    for reg in registers:
        lines.append(f"| {reg.offset:#05x} | {reg.name} | {reg.access} | {_reset(reg, known)} | {reg.doc} |")
    return "\n".join(lines)


def _reset(reg: Register, known: dict[str, int] | None) -> str:
    if known is not None or not any(isinstance(field.reset, str) for field in reg.fields):
        return f"{reset_value(reg, known or {}):#x}"
    return f"*{reg.fields[0].reset}*" if len(reg.fields) == 1 else "see below"


def _sections(registers: tuple[Register, ...], known: dict[str, int] | None) -> list[str]:
    """The fields of every register that has more than its whole word."""
    sections = []
    for reg in registers:
        if all(field.width == 32 for field in reg.fields):
            continue
        lines = [f"### {reg.name}", "", "| bits | field | access | after reset | |", "|---|---|---|---|---|"]
        for field in reg.fields:
            bits = f"{field.lsb + field.width - 1}:{field.lsb}" if field.width > 1 else f"{field.lsb}"
            lines.append(f"| {bits} | {field.name} | {field.access} | {_value(field, known)} | {field.doc} |")
        sections.append("\n".join(lines))
    return sections


def _value(field: Field, known: dict[str, int] | None) -> str:
    if isinstance(field.reset, str):
        return f"*{field.reset}*" if known is None else f"{known[field.reset]}"
    return f"{field.reset}"


if __name__ == "__main__":
    print(markdown(), end="")
