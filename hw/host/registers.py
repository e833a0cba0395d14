# SPDX-License-Identifier: SHL-2.1
"""The register map, declared once: gateware, driver, C header and docs/registers.md are derived from it.

Registers have 32 bits at consecutive multiples of 4. A 64-bit value is two registers, ``_LO`` with the low half first;
of a hash it is the number that the first 16 hexadecimal digits of the SHA-256 write.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..config import CoreConfig
from ..core import BUSY_BITS, ERRORS
from ..memories import MEMORIES, Memory

__all__ = [
    "ID", "MAP_REVISION", "QUEUE_WORDS", "REGISTERS", "STREAM_BASE", "STREAM_REGISTERS", "VERSION", "Access", "Field",
    "Register", "config_of", "facts", "hash64", "register", "reset_value",
]  # fmt: skip

ID = 0x52544C46
"""Contents of the ID register: "RTLF"."""

VERSION = (0, 1, 0)
"""Version of rtlformer that the VERSION register tells."""

MAP_REVISION = 3
"""Goes up with every change, of this map or of the command set, that old software would not survive."""

STREAM_BASE = 0x200
"""Byte offset of :data:`STREAM_REGISTERS`."""

QUEUE_WORDS = 32
"""Words of each queue behind :data:`STREAM_REGISTERS`."""

_NUMBERS = ("rows", "cols", "depth", "slots", "max_tokens", "max_hidden", "tables")
_WORDS = {m.capacity: m for m in MEMORIES.values() if m.capacity and m.capacity not in _NUMBERS}
_EXP = ("base2", "ibert")
_GELU = ("table", "ibert")


class Access:
    """What a field does when it is written; ``RO`` ignores it."""

    RO = "ro"
    RW = "rw"
    W1C = "w1c"
    """Writing 1 clears it, writing 0 leaves it."""
    PULSE = "pulse"
    """Writing 1 acts once; reads as 0."""
    ADD = "add"
    """Writing adds to it."""
    WO = "wo"
    """Writing acts; reads as 0."""
    POP = "pop"
    """Reading acts."""
    ZERO = "zero"
    """Writing anything sets it to 0."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """``width`` bits of a register from bit ``lsb`` on.

    ``reset`` is the value after reset, or the name of the fact (see :func:`facts`) that is that value.
    """

    name: str
    lsb: int
    width: int
    access: str = Access.RO
    reset: int | str = 0
    doc: str = ""

    @property
    def mask(self) -> int:
        """Its bits within the register."""
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True, kw_only=True)
class Register:
    """A 32-bit register at byte ``offset``; bits that no field covers read as 0 and ignore writes."""

    name: str
    offset: int
    doc: str
    fields: tuple[Field, ...] = field(default=())

    @property
    def index(self) -> int:
        """Word index, the address on a :class:`hw.host.bus.RegisterBus`."""
        return self.offset // 4

    @property
    def writable(self) -> bool:
        """Whether a write can do anything."""
        return any(f.access not in (Access.RO, Access.POP) for f in self.fields)

    @property
    def access(self) -> str:
        """Accesses of its fields, each once."""
        return ", ".join(dict.fromkeys(f.access for f in self.fields))

    def __getitem__(self, name: str) -> Field:
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(f"{self.name} has no field {name!r}")


def _whole(name: str, doc: str, *, access: str = Access.RO, reset: int | str = 0) -> tuple[str, str, tuple[Field, ...]]:
    return name, doc, (Field(name="value", lsb=0, width=32, access=access, reset=reset),)


def _capacity(field_name: str, memory: Memory) -> tuple[str, str, tuple[Field, ...]]:
    return _whole(field_name.upper(), f"Capacity of {memory.name}, in words of {memory.word}.", reset=field_name)


def _place(base: int, declarations: list[tuple[str, str, tuple[Field, ...]]]) -> tuple[Register, ...]:
    return tuple(
        Register(name=name, offset=base + 4 * i, doc=doc, fields=fields)
        for i, (name, doc, fields) in enumerate(declarations)
    )


REGISTERS: tuple[Register, ...] = _place(0, [
    _whole("ID", 'Says that this is an rtlformer core: "RTLF".', reset=ID),
    ("VERSION", "Version of rtlformer that made the core, and of this map.", (
        Field(name="patch", lsb=0, width=8, reset=VERSION[2]),
        Field(name="minor", lsb=8, width=8, reset=VERSION[1]),
        Field(name="major", lsb=16, width=8, reset=VERSION[0]),
        Field(name="map", lsb=24, width=8, reset=MAP_REVISION,
              doc="goes up when software written for the map before would fail"),
    )),
    _whole("CONFIG_HASH_LO", "Low half of the configuration's hash: programs are made for one configuration.",
           reset="config_hash_lo"),
    _whole("CONFIG_HASH_HI", "High half of the configuration's hash.", reset="config_hash_hi"),
    ("ARRAY", "Shape of the array.", (
        Field(name="rows", lsb=0, width=8, reset="rows", doc="token rows of a tile"),
        Field(name="cols", lsb=8, width=8, reset="cols", doc="output columns of a tile"),
        Field(name="depth", lsb=16, width=8, reset="depth", doc="contraction elements a cycle"),
        Field(name="lanes", lsb=24, width=8, reset="lanes", doc="elements of a beat: rows * drained columns"),
    )),
    ("LIMITS", "Longest sequence and widest row.", (
        Field(name="max_tokens", lsb=0, width=16, reset="max_tokens"),
        Field(name="max_hidden", lsb=16, width=16, reset="max_hidden"),
    )),
    ("KERNELS", "Kernels, rings and activation tables.", (
        Field(name="exp", lsb=0, width=4, reset="exp", doc="0 base2, 1 ibert"),
        Field(name="gelu", lsb=4, width=4, reset="gelu", doc="0 table, 1 ibert"),
        Field(name="slots", lsb=8, width=8, reset="slots", doc="row blocks in the score and probability rings"),
        Field(name="tables", lsb=16, width=8, reset="tables", doc="activation tables"),
        Field(name="dense", lsb=24, width=1, reset="dense", doc="memories in the fewest block RAMs"),
    )),
    ("CONTROL", "What the host tells the core. Reset comes before anything else that the same write asks for.", (
        Field(name="start", lsb=0, width=1, access=Access.PULSE, doc="request one pass: the same as PASSES = 1"),
        Field(name="reset", lsb=1, width=1, access=Access.PULSE,
              doc="reset the core and its streams for 8 cycles, drop requested passes and clear done, refused and "
                  "ERRORS; memories, counters, SEQ_LEN, MODEL_HASH and LOAD_CRC stay; an s_axis packet then starts "
                  "anew at its header"),
        Field(name="clear", lsb=2, width=1, access=Access.PULSE,
              doc="set FRAMES_DONE, ACTIVE_CYCLES, CYCLES and the BUSY counters to 0"),
        Field(name="irq_enable", lsb=3, width=1, access=Access.RW, doc="irq is high while this and STATUS.done are"),
    )),
    ("STATUS", "State of the core.", (
        Field(name="busy", lsb=0, width=8, doc="engines at work, from bit 0: " + ", ".join(BUSY_BITS)),
        Field(name="idle", lsb=8, width=1, reset=1, doc="no pass is requested, none in flight, and no reset under way"),
        Field(name="done", lsb=9, width=1, access=Access.W1C, doc="a result's last word has left"),
        Field(name="refused", lsb=10, width=1, access=Access.W1C,
              doc="SEQ_LEN out of range or PASSES beyond 65535 was written, and ignored"),
        Field(name="irq", lsb=11, width=1, doc="the interrupt output"),
        Field(name="error", lsb=12, width=1, doc="ERRORS is not 0"),
    )),
    ("SEQ_LEN", "Tokens of the inputs of passes not yet begun. After a change the next pass begins when no pass is in "
                "flight; a value outside 1..max_tokens is refused.", (
        Field(name="tokens", lsb=0, width=16, access=Access.RW, reset="max_tokens"),
    )),
    ("PASSES", "Passes requested and not yet begun. Writing n requests n more: each begins as soon as the core can "
               "take it on, and waits there for its input. A sum beyond 65535 is refused.", (
        Field(name="count", lsb=0, width=16, access=Access.ADD),
    )),
    _whole("MODEL_HASH_LO", "Low half of the hash of the model in the memories (model_hash in its manifest.json). At "
           "power-up that of the built-in model, or 0; no reset changes it. A load packet that is no input sets both "
           "halves to 0; who loads a model writes its hash after.",
           access=Access.RW, reset="model_hash_lo"),
    _whole("MODEL_HASH_HI", "High half of that hash.", access=Access.RW, reset="model_hash_hi"),
    _whole("FRAMES_DONE", "Results whose last word has left, modulo 2^32."),
    _whole("ACTIVE_CYCLES", "Cycles with a pass in flight (begun, its result not yet gone), modulo 2^32."),
    _whole("CYCLES_LO", "Low half of the cycles since CONTROL.clear or reset. To read all 64 bits: HI, LO, HI again, "
           "until both HI agree."),
    _whole("CYCLES_HI", "High half of those."),
    *(_whole(f"BUSY_{name.upper()}", "Cycles that feed the array, modulo 2^32." if name == "macs"
             else f"Cycles in which the {name} was busy, modulo 2^32.") for name in BUSY_BITS),
    ("ERRORS", "What was refused, each until it is cleared.", tuple(
        Field(name=name, lsb=bit, width=1, access=Access.W1C, doc=doc) for bit, (name, doc) in enumerate(ERRORS.items())
    )),
    _whole("LOAD_CRC", "CRC-32 (zlib's) of header and data of every load packet that was no input, since it was last "
           "set to 0. At power-up that of the packets that load the built-in model (load_crc in its manifest.json), or "
           "0; no reset changes it. A model is what MODEL_HASH says only if LOAD_CRC is its own.",
           access=Access.ZERO, reset="load_crc"),
    *(_capacity(name, memory) for name, memory in _WORDS.items()),  # last: one more moves no other register
])  # fmt: skip
"""Every register of a hosted core, in order of its offset and without gaps."""

STREAM_REGISTERS: tuple[Register, ...] = _place(STREAM_BASE, [
    _whole("PUSH_LO", "Low half of the next input word; may be written again until PUSH_HI is.", access=Access.RW),
    _whole("PUSH_HI", "High half: writing it sends both halves to the input stream. Refused while input_room is 0.",
           access=Access.WO),
    _whole("PULL_LO", "Low half of the oldest result word, which stays. Refused while output_words is 0."),
    _whole("PULL_HI", "High half: reading it takes the word away. Refused while output_words is 0.",
           access=Access.POP),
    ("STREAM_STATUS", "State of the two queues.", (
        Field(name="input_room", lsb=0, width=8, reset=QUEUE_WORDS, doc="words that PUSH will take"),
        Field(name="output_words", lsb=8, width=8, doc="words that PULL can give"),
        Field(name="output_last", lsb=16, width=1, doc="the oldest of them is a result's last"),
    )),
])  # fmt: skip
"""Data windows of systems without streams (the Wishbone wrapper)."""


def register(name: str) -> Register:
    """The register of that name; KeyError if there is none."""
    for candidate in (*REGISTERS, *STREAM_REGISTERS):
        if candidate.name == name:
            return candidate
    raise KeyError(f"there is no register {name!r}")


def hash64(sha256: str) -> int:
    """The 64-bit form of a SHA-256 in hexadecimal."""
    return int(sha256[:16], 16)


def facts(config: CoreConfig, model_hash: int = 0, load_crc: int = 0) -> dict[str, int]:
    """What the map calls by name: properties of one core."""
    config_hash = hash64(config.fingerprint)
    numbers = {name: getattr(config, name) for name in (*_NUMBERS, "lanes", *_WORDS)}
    return numbers | {
        "exp": _EXP.index(config.exp),
        "gelu": _GELU.index(config.gelu),
        "dense": int(config.dense),
        "config_hash_lo": config_hash & 0xFFFFFFFF,
        "config_hash_hi": config_hash >> 32,
        "model_hash_lo": model_hash & 0xFFFFFFFF,
        "model_hash_hi": model_hash >> 32,
        "load_crc": load_crc,
    }


def reset_value(reg: Register, known: dict[str, int]) -> int:
    """Value of a register after reset, of a core with the facts ``known``."""
    return sum((known[f.reset] if isinstance(f.reset, str) else f.reset) << f.lsb for f in reg.fields)


def config_of(read: Callable[[str], int]) -> CoreConfig:
    """The configuration of a core, from ``read(register name)``.

    Raises
    ------
    ValueError
        If what was read is no valid configuration, or its hash is not what the core says.
    """

    def get(name: str, part: str) -> int:
        f = register(name)[part]
        return (read(name) & f.mask) >> f.lsb

    rows, exp, gelu = get("ARRAY", "rows"), get("KERNELS", "exp"), get("KERNELS", "gelu")
    if rows == 0 or exp >= len(_EXP) or gelu >= len(_GELU):
        raise ValueError(f"Registers must describe a core, not rows {rows}, exp {exp}, gelu {gelu}")
    config = CoreConfig(
        rows=rows,
        cols=get("ARRAY", "cols"),
        depth=get("ARRAY", "depth"),
        drain_columns=get("ARRAY", "lanes") // rows,
        slots=get("KERNELS", "slots"),
        max_tokens=get("LIMITS", "max_tokens"),
        max_hidden=get("LIMITS", "max_hidden"),
        exp=_EXP[exp],
        gelu=_GELU[gelu],
        tables=get("KERNELS", "tables"),
        dense=bool(get("KERNELS", "dense")),
        **{name: read(name.upper()) for name in _WORDS},
    )
    told = read("CONFIG_HASH_HI") << 32 | read("CONFIG_HASH_LO")
    if hash64(config.fingerprint) != told:
        raise ValueError(f"CONFIG_HASH must be {hash64(config.fingerprint):016x} for these values, not {told:016x}")
    return config
