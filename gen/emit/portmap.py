# SPDX-License-Identifier: Apache-2.0
"""The interface of a generated core, for whoever puts it into a system: ports, stream packets, memories, registers."""

from __future__ import annotations

import numpy as np

from gen.emit.verilog import TOP
from gen.program.image import Image
from hw.core import BUSY_BITS, ERRORS
from hw.host.registers import REGISTERS, STREAM_REGISTERS, Register, facts, reset_value
from hw.io.passes import PassGuard
from hw.memories import LOADABLE
from hw.program import loads
from hw.structs import fields_of
from hw.wrappers import WRAPPERS
from sim.verilate import ports

__all__ = ["markdown", "port_map", "wrapper_map", "wrapper_registers"]

_PORTS = {
    "clk": "clock; everything happens at its rising edge",
    "rst": "reset, synchronous, active high; memories keep their contents",
    "run": "start a pass of the program when the previous one has ended; a pass waits for its input",
    "seq_len": f"tokens of the inputs; a new length counts {PassGuard.LENGTH_LATENCY} cycles later, "
    "once nothing is in flight",
    "s_axis_tdata": "input stream (AXI4-Stream): load packets",
    "s_axis_tvalid": "input stream: a word is offered",
    "s_axis_tready": "input stream: the word is taken",
    "m_axis_tdata": "output stream (AXI4-Stream): results",
    "m_axis_tvalid": "output stream: a word is offered",
    "m_axis_tready": "output stream: the word is taken",
    "m_axis_tlast": "output stream: last word of a result",
    "busy": "one bit an engine, from bit 0: " + ", ".join(BUSY_BITS),
    "frames_done": "results that have left, modulo 2^32",
    "errors": "what was refused, until it is cleared or reset, from bit 0: " + ", ".join(ERRORS),
    "clear_errors": "a bit set clears that error",
    "model_written": "high for a cycle when a load packet that is no input begins",
    "load_crc": "CRC-32 of all load packets that were no inputs; of load.hex after power-up",
    "clear_crc": "begin load_crc anew",
}

_AXIL = {
    "aw": "write address (byte address)", "awprot": "ignored", "w": "write data", "wstrb": "must be all ones",
    "b": "write response", "ar": "read address (byte address)", "arprot": "ignored", "r": "read data",
}  # fmt: skip
_WRAPPER_PORTS = {
    "aclk": "clock; everything happens at its rising edge",
    "aresetn": "reset, synchronous, active low; memories keep their contents",
    "m_axis_tkeep": "output stream: all ones",
    "irq": "interrupt, level, active high",
    "clk_i": "clock; everything happens at its rising edge",
    "rst_i": "reset, synchronous, active high; memories keep their contents",
    "wb_cyc_i": "a bus cycle is under way",
    "wb_stb_i": "an access is requested",
    "wb_we_i": "it is a write",
    "wb_adr_i": "byte address",
    "wb_sel_i": "byte selects; a write needs all",
    "wb_dat_i": "write data",
    "wb_dat_o": "read data",
    "wb_ack_o": "the access is done",
    "wb_err_o": "the access was refused",
    "wb_stall_o": "no access is accepted (pipelined masters)",
    "irq_o": "interrupt, level, active high",
}


def wrapper_registers(kind: str) -> tuple[Register, ...]:
    """The registers that the IP top ``kind`` has."""
    return (*REGISTERS, *STREAM_REGISTERS) if kind == "wishbone" else REGISTERS


def wrapper_map(image: Image, kind: str, verilog: str, model_hash: int) -> dict:
    """Ports and registers of an IP top as plain data, for the manifest."""
    top, known = WRAPPERS[kind].TOP, facts(image.config, model_hash, image.load_crc)
    return {
        "kind": kind,
        "top": top,
        "ports": [
            {"name": p.name, "width": p.width, "direction": "in" if p.is_input else "out", "meaning": _meaning(p.name)}
            for p in sorted(ports(verilog, top), key=lambda p: list(WRAPPERS[kind].PORTS).index(p.name))
        ],
        "registers": [
            {
                "name": reg.name,
                "offset": reg.offset,
                "access": reg.access,
                "reset": reset_value(reg, known),
                "fields": {
                    f.name: {"lowest_bit": f.lsb, "width": f.width, "access": f.access}
                    for f in reg.fields
                    if f.width < 32
                },
            }
            for reg in wrapper_registers(kind)
        ],
    }


def _meaning(port: str) -> str:
    """Of a port of an IP top."""
    if port.startswith("s_axil_"):
        signal = port.removeprefix("s_axil_")
        channel = next(name for name in ("aw", "ar", "w", "b", "r") if signal.startswith(name))
        return f"AXI4-Lite, {_AXIL.get(signal, _AXIL[channel])}"
    return _WRAPPER_PORTS.get(port) or _PORTS[port]


def port_map(image: Image, verilog: str) -> dict:
    """Ports, packet layouts and memories as plain data, for the manifest."""
    shapes = {target: memory.geometry(image.config) for target, memory in LOADABLE.items()}
    tokens = image.max_tokens
    return {
        "ports": [
            {"name": p.name, "width": p.width, "direction": "in" if p.is_input else "out", "meaning": _PORTS[p.name]}
            for p in sorted(ports(verilog, TOP), key=lambda p: list(_PORTS).index(p.name))
        ],
        "busy_bits": list(BUSY_BITS),
        "errors": dict(ERRORS),
        "packet_header": {
            name: {"lowest_bit": place.offset, "width": place.width}
            for name, place in fields_of(loads.PacketHeader).items()
            if name != "reserved"
        },
        "memories": {
            target.name: {"target": target.value, "word_bytes": shape.bytes, "words": shape.words}
            for target, shape in shapes.items()
        },
        "input": {
            "header": f"{int(_input_header(image, tokens)):#018x}",
            "words_with_header": image.input_words(tokens),
            "values": list(image.input.form.limits),
            "bytes_a_value": image.input.form.dtype.itemsize,
            "features": image.input.form.features,
        },
        "output": {
            "words": image.output_words(tokens),
            "values": image.output.width,
            "rows": 1 if image.output.logits else tokens,
        },
    }


def _input_header(image: Image, tokens: int) -> int:
    return image.input_packet(np.zeros((tokens, image.input.form.features), np.int64))[0]


def markdown(image: Image, verilog: str, wrapper: dict | None = None, *, origin: str = "") -> str:
    """The same as a page to read; ``wrapper`` as :func:`wrapper_map` returns it, ``origin``: a paragraph of its own."""
    facts, c, tokens = port_map(image, verilog), image.config, image.max_tokens
    given, made = facts["input"], facts["output"]
    lo, hi = given["values"]
    lines = [
        f"# Interface of {TOP} with model {image.name}",
        "",
        f"Array {c.array}, {c.macs} multiply-accumulates a cycle. 64-bit words; the lowest byte comes first.",
        *(["", origin] if origin else []),
        "",
        "## Ports",
        "",
        "| port | direction | bits | meaning |",
        "|---|---|---|---|",
        *(f"| {p['name']} | {p['direction']} | {p['width']} | {p['meaning']} |" for p in facts["ports"]),
        "",
        "## Use",
        "",
        "1. Hold `rst` for a cycle. The model is in the memories from power-up (`core.v` carries it); a core emitted",
        "   without contents first takes the words of `load.hex` on `s_axis`.",
        f"2. Set `seq_len` (1 to {image.max_tokens}) and raise `run`.",
        "3. Send input packets on `s_axis`, as fast as they are taken; results leave on `m_axis` in order.",
        "4. Lower `run` when the last input has been sent: the pass under way ends by itself.",
        "",
        "## Packets on s_axis",
        "",
        "A header word, then `count` words for consecutive 64-bit units of the target memory from `address` on.",
        "",
        "| field | bits | |",
        "|---|---|---|",
    ]
    notes = {
        "target": "memory, by the numbers below",
        "input": "wait until the input region is free, and announce the input when it is whole",
        "address": "in 64-bit units (whole words where a memory's word is narrower)",
        "count": "words that follow",
    }
    for name, f in facts["packet_header"].items():
        top = f["lowest_bit"] + f["width"] - 1
        lines.append(f"| {name} | {top}:{f['lowest_bit']} | {notes.get(name, '')} |")
    lines += [
        "",
        f"An input of {tokens} tokens is one packet of {given['words_with_header']} words, the header being",
        f"`{given['header']}`. It has {given['features']} values a token, {given['bytes_a_value']} byte(s) each,",
        f"in {lo}..{hi}. Tokens go in blocks of {c.rows}; within a block the value of column k, row r is number",
        f"k * {c.rows} + r. Rows and columns beyond the input's are zeros, to {image.input.words} words of",
        f"{image.input.target.name} a block.",
        "",
        "## Results on m_axis",
        "",
        f"{made['words']} words: {made['rows']} row(s) of {made['values']} int16 values, in beats of {c.lanes}.",
        f"Column p, row r of a beat is number p * {c.rows} + r. Beats run by column group, then by block;",
        "`m_axis_tlast` marks the last word." + " Logits are row 0." * image.output.logits,
        "",
        "## Memories",
        "",
        "| memory | target | word | words | used |",
        "|---|---|---|---|---|",
    ]
    for name, m in facts["memories"].items():
        used = image.usage.get(name, (0, 0))[0]
        lines.append(f"| {name} | {m['target']} | {m['word_bytes']} bytes | {m['words']} | {used} |")
    if wrapper:
        lines += [
            "",
            f"## IP top {wrapper['top']}",
            "",
            f"`{wrapper['top']}.v` puts registers in front of module {TOP} of `core.v`; a system takes both files. The",
            "registers, in place of `run`, `seq_len`, `busy` and `frames_done`, are explained in registers.md;",
            "rtlformer.h has them for software in C.",
            "",
            "| port | direction | bits | meaning |",
            "|---|---|---|---|",
            *(f"| {p['name']} | {p['direction']} | {p['width']} | {p['meaning']} |" for p in wrapper["ports"]),
        ]
    return "\n".join([*lines, ""])
