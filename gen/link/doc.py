# SPDX-License-Identifier: Apache-2.0
"""The reference of the host link, ``docs/link.md``, written from :mod:`hw.link.protocol` and the driver.

``python -m gen.link.doc > docs/link.md`` renews it; a test holds the two together.
"""

from __future__ import annotations

import inspect
import re
from enum import Enum
from types import ModuleType

from amaranth.hdl import Shape
from amaranth.lib import data

from gen.emit.selftest import INPUTS
from gen.link import errors
from gen.link.frames import Frame, encode
from hw.host.registers import ID, register
from hw.link import board, protocol
from hw.link.protocol import Command, Header, Hello, Pull, Pushed, Read, Status, WordWrite

_STRUCTS = (Hello, Read, WordWrite, Pushed, Pull)


def _doc(thing: object) -> str:
    return inspect.cleandoc(thing.__doc__ or "").replace("``", "`")


def _remarks(thing: type) -> dict[str, str]:
    """The comments behind a declaration's lines, by field or member."""
    lines = inspect.getsource(thing).splitlines()
    found = (re.match(r"\s+(\w+)\s*[:=][^#]*(?:#\s*(.*))?$", line) for line in lines)
    return {match[1]: match[2] or "" for match in found if match}


def _struct(struct: type[data.Struct]) -> str:
    layout, remarks = data.Layout.cast(struct), _remarks(struct)
    lines = ["| byte | bytes | field | |", "|---|---|---|---|"]
    for name, field in layout:
        width = Shape.cast(field.shape).width
        lines.append(f"| {field.offset // 8} | {width // 8} | {name} | {remarks.get(str(name), '')} |")
    return "\n".join(lines)


def _enum(enum: type[Enum]) -> str:
    remarks = _remarks(enum)
    rows = (f"| {member.value} | {member.name} | {remarks[member.name]} |" for member in enum)
    return "\n".join(["| value | name | |", "|---|---|---|", *rows])


def _example(what: str, frame: Frame) -> str:
    return f"{what}: `{encode(frame).hex(' ')}`"


def _steps() -> tuple[str, ...]:
    return (
        "## A run, step by step",
        "1. HELLO; READ all registers (`docs/registers.md`): ID, VERSION, CONFIG_HASH say whether the board is the "
        "right one.\n"
        "2. WRITE CONTROL.reset: whatever an earlier host left unfinished is gone.\n"
        "3. If MODEL_HASH and LOAD_CRC are not the model's (`model_hash` and `load_crc` in `manifest.json`): WRITE 0 "
        "to both, PUSH the load packets (`load.hex`), PUSH nothing until `room` is `Hello.input_words` and STATUS.busy "
        "has no loader, READ ERRORS (0) and LOAD_CRC (the model's), WRITE the model's hash.\n"
        "4. WRITE SEQ_LEN. For each input: PUSH its packet; WRITE PASSES = 1 when all of it is there. Several may be "
        "on their way.\n"
        "5. PULL until the results' words have all come; a PUSH refused with BUSY is made again after it.\n"
        "6. READ ERRORS: 0, or a word was no part of what the program takes, and no result counts.",
        "A host that is killed needs no cleaning up: the next one's HELLO and reset are all that it takes.",
    )


def _detected() -> tuple[str, ...]:
    return (
        "## What is detected, and what is not",
        "The core keeps track of its memories itself, whoever writes to them. A load packet that is no input clears "
        "MODEL_HASH and goes, header and data, into LOAD_CRC, a CRC-32 over all that was loaded; words that belong to "
        "no memory or lie beyond its end, inputs that the program does not take, and lengths that it was not made for "
        "are dropped and noted in ERRORS. Neither reset changes MODEL_HASH or LOAD_CRC.",
        "So the driver finds:\n\n"
        "- bytes lost, added or changed on the line: the frames' CRC; the request is repeated;\n"
        "- a load cut short, and anything that another host has written to the memories since, even if it wrote the "
        "hash back: MODEL_HASH or LOAD_CRC is another (`load`, which then loads the model);\n"
        "- words that the core took to its memories otherwise than they were sent: LOAD_CRC after a load "
        "(`LoadFailed`);\n"
        "- anything that the core refused during a load or a run: ERRORS (`CoreRefused`);\n"
        "- memory contents that changed by themselves, or that were loaded wrong by another tool: inputs with known "
        "results (`selftest.safetensors`), run by `load` as far as they take under a second, and all by "
        "`rtlformer run --self-test` (`SelfTestFailed`).",
        "It does not find:\n\n"
        "- a changed bit that makes no difference to the self-test's results. On the digits model one changed bit of "
        f"a weight shows in three of four cases with the {INPUTS} inputs that there are; those that do not show move "
        "other results seldom, and little. `rtlformer run --reload` puts all memories right;\n"
        "- memories that change between the check and the run, or during it: a board whose memories do so needs a "
        "slower clock or another power supply, and `--compare` to tell;\n"
        "- another host that uses the board while this one does, if it sends what this one might have sent: a session "
        "ends when another begins, but the port has to be taken first, which the system forbids while it is open;\n"
        "- a host that means ill: it may load another model, and write MODEL_HASH and LOAD_CRC's packets so that both "
        "are right. A CRC is no signature.",
    )


def markdown() -> str:
    """The whole document."""
    session, identity = 0x5EED, register("ID")
    hello = Frame(session=session, sequence=0, command=Command.HELLO.value)
    read = Frame(session=session, sequence=1, command=Command.READ.value, payload=bytes([identity.index, 1]))
    told = Frame(
        session=session, sequence=1, command=Command.READ.value,
        payload=ID.to_bytes(4, "little"),
    )  # fmt: skip
    named = [getattr(errors, name) for name in errors.__all__ if name != "LinkError"]
    parts = [
        "# Host link",
        "Written by `python -m gen.link.doc` from `hw/link/protocol.py`, where the protocol is declared once: "
        "gateware, driver and this page are derived from it. The line is a UART of eight data bits, no parity and one "
        "stop bit, of the rate that the board was built for (3 Mbaud unless it says otherwise).",
        "From Python:",
        "```python\n"
        "from gen.link.device import Device\n\n"
        'with Device("/dev/ttyUSB0") as device:  # or the path that `rtlformer board-sim` prints\n'
        "    print(device.identity.config.array)\n"
        '    device.load("build/digits")  # nothing to do where the bitstream holds this model\n'
        "    logits = device.run(x)  # integers [tokens, features] in, integers out\n"
        "    print(device.measured, device.counters())\n"
        "```",
        "From a shell: `rtlformer run DIR --port PORT --input X.npy`; `--port sim` starts a simulated "
        "board for the run.",
        "## Frames and sessions",
        _doc(protocol),
        f"`FLAG` is {protocol.FLAG:#04x}, `ESCAPE` {protocol.ESCAPE:#04x}, `ESCAPE_XOR` {protocol.ESCAPE_XOR:#04x}; "
        f"the version is {protocol.VERSION}, the longest payload {protocol.MAX_PAYLOAD} bytes. The CRC is that of "
        "Ethernet and zip, `zlib.crc32`.",
        "## Header",
        _struct(Header),
        "## Commands",
        _enum(Command),
        "## Statuses",
        _doc(Status),
        _enum(Status),
        "## Payloads",
    ]
    for struct in _STRUCTS:
        parts += [f"### {struct.__name__}", _doc(struct), _struct(struct)]
    parts += [
        "## Example",
        _example("HELLO of session 0x5eed", hello),
        _example("READ of the ID register", read),
        _example("its answer", told),
        *_steps(),
        *_detected(),
        "## Errors of the driver",
        "`Device` waits for no answer for ever. Each of these is a `LinkError`; on the command line it is one line and "
        "exit status 2.",
        "\n".join(f"- `{error.__name__}`: {_doc(error)}" for error in named),
        "## LEDs",
        _doc_of_constant(board, "LEDS")
        + " In order: "
        + ", ".join(f"{n} {name}" for n, name in enumerate(board.LEDS))
        + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _doc_of_constant(module: ModuleType, name: str) -> str:
    """The string that follows a constant's assignment."""
    match = re.search(rf'^{name} = .*\n"""(.*?)"""', inspect.getsource(module), re.MULTILINE | re.DOTALL)
    return " ".join(match[1].replace("``", "`").split()) if match else ""


if __name__ == "__main__":
    print(markdown(), end="")
