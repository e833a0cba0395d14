# SPDX-License-Identifier: SHL-2.1
"""Every hardware choice of a core, in one frozen, self-validating dataclass with named presets."""

from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from json import dumps

__all__ = ["CoreConfig", "PRESETS", "preset"]


def _number(default: int, *, most: int) -> int:
    """A field of that default that may be ``most`` at most."""
    return field(default=default, metadata={"most": most})


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """The shape, kernels and memory capacities of one :class:`hw.core.TransformerCore`.

    The array is ``rows x cols`` processing elements, each a ``depth``-deep int8 dot product, so ``macs`` =
    rows * cols * depth multiply-accumulates a cycle. Capacities are in words of the memory they name (see
    ``docs/memories.md``); a model that needs more is refused by the compiler, never truncated.

    Raises
    ------
    ValueError
        If a value breaks its rule; the message states the rule and shows the value.
    """

    rows: int
    """Tr: token rows of a tile, and of every row block."""
    cols: int
    """Tc: output columns of a tile."""
    depth: int
    """Tk: contraction elements a processing element takes each cycle."""
    drain_columns: int = 1
    """Pc: tile columns that leave through the drain each cycle; rows * drain_columns requantiser lanes."""
    slots: int = 4
    """Row blocks in the score ring and in the probability ring (ping-pong is 2)."""
    max_tokens: int = _number(64, most=1024)
    """Longest sequence."""
    max_hidden: int = _number(1024, most=1024)
    """Widest row that LayerNorm takes."""
    exp: str = "base2"
    """Exponential kernel: "base2" or "ibert"."""
    gelu: str = "table"
    """Activation kernel: "table" or "ibert"."""
    w_words: int = _number(4096, most=1 << 18)
    """W: cols * depth bytes each."""
    act_words: int = _number(512, most=1 << 18)
    """ACT: rows * depth bytes each."""
    kv_words: int = _number(512, most=1 << 18)
    """KV: cols * depth bytes each."""
    res_words: int = _number(1024, most=1 << 18)
    """RES: rows * drain_columns int16 each."""
    chan_words: int = _number(2048, most=1 << 18)
    """CHAN: drain_columns parameter sets of 64 bits each."""
    norm_words: int = _number(512, most=1 << 18)
    """NORM: drain_columns parameter sets of 64 bits each."""
    head_words: int = _number(64, most=1 << 12)
    """HEAD: one (layer, head) each."""
    tables: int = _number(4, most=64)
    """TABLE: activation tables."""
    prog_words: int = _number(512, most=1 << 12)
    """PROG: 64 bits each."""
    dense: bool = False
    """Fewest block RAMs, at the cost of LUTs and clock rate: for the smallest parts."""

    def __post_init__(self) -> None:
        def check(ok: bool, rule: str, value: object) -> None:
            if not ok:
                raise ValueError(f"{rule}, not {value!r}")

        for name, value in asdict(self).items():
            if name not in ("exp", "gelu", "dense"):
                check(type(value) is int and value > 0, f"{name} must be a positive integer", value)
        for name in ("rows", "cols", "depth", "drain_columns"):
            value = getattr(self, name)
            check(value.bit_count() == 1, f"{name} must be a power of two", value)
        check(self.rows <= 16, "rows must be at most 16", self.rows)
        check(2 <= self.cols <= 64, "cols must lie in 2..64", self.cols)
        check(4 <= self.depth <= 64, "depth must lie in 4..64", self.depth)
        check(self.rows <= min(self.cols, self.depth), "rows must not exceed cols or depth", self.rows)
        check(
            self.drain_columns <= min(self.cols, self.depth),
            "drain_columns must not exceed cols or depth",
            self.drain_columns,
        )
        check(
            self.depth // self.drain_columns >= self.rows,
            f"depth / drain_columns must be at least rows ({self.rows}): the softmax needs a cycle for each row",
            self.depth // self.drain_columns,
        )
        check(self.slots in (2, 4, 8), "slots must be 2, 4 or 8", self.slots)
        check(isinstance(self.dense, bool), "dense must be true or false", self.dense)
        check(self.exp in ("base2", "ibert"), "exp must be base2 or ibert", self.exp)
        check(self.gelu in ("table", "ibert"), "gelu must be table or ibert", self.gelu)
        for item in fields(self):
            if "most" in item.metadata:
                most, value = item.metadata["most"], getattr(self, item.name)
                check(value <= most, f"{item.name} must be at most {most}", value)

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.rows * self.cols * self.depth

    @property
    def lanes(self) -> int:
        """Elements of a beat, and requantiser, exponential and LayerNorm lanes."""
        return self.rows * self.drain_columns

    @property
    def tile_beats(self) -> int:
        """Beats of one tile: cycles that the drain needs for it."""
        return self.cols // self.drain_columns

    @property
    def word_beats(self) -> int:
        """Beats of one ACT or PROB word."""
        return self.depth // self.drain_columns

    @property
    def key_words(self) -> int:
        """PROB words of one row block; its keys are whole words and, as the scores arrive in tiles, whole tiles."""
        unit = max(self.cols, self.depth)
        return -(-self.max_tokens // unit) * unit // self.depth

    @property
    def address_bits(self) -> int:
        """Bits of any address in a program for this core."""
        beats = self.act_words * self.word_beats
        row_blocks = self.kv_words * max(self.cols, self.depth) // self.rows  # parts of KV that a row block fills
        words = (self.w_words, self.res_words, self.chan_words, self.norm_words, self.head_words)
        return (max(beats, row_blocks, *words) - 1).bit_length()

    @property
    def array(self) -> str:
        """The array's shape as people write it, such as "4x4x8"."""
        return f"{self.rows}x{self.cols}x{self.depth}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the configuration, which names it in manifests and reports."""
        return sha256(dumps(asdict(self), sort_keys=True).encode()).hexdigest()


PRESETS: dict[str, CoreConfig] = {
    # 128 MACs; holds the digits ViT; fits an ECP5-85F.
    "edge": CoreConfig(rows=4, cols=4, depth=8, max_tokens=32, max_hidden=256),
    # The smallest array, for the smallest parts.
    "tiny": CoreConfig(rows=2, cols=2, depth=4, max_tokens=32, max_hidden=256, w_words=16384, act_words=2048,
                       kv_words=2048, res_words=2048),
    # 8 MACs, memories cut to the digits ViT: fits an ECP5-25F with its host link.
    "small": CoreConfig(rows=1, cols=2, depth=4, max_tokens=17, max_hidden=64, dense=True, w_words=12400,
                        act_words=1665, kv_words=304, res_words=2186, chan_words=1226, norm_words=320,
                        head_words=8, tables=2, prog_words=176),
    # One row: every multiplier busy on a matrix-vector product.
    "decode": CoreConfig(rows=1, cols=16, depth=8, drain_columns=4, max_tokens=64, max_hidden=256, act_words=2048),
    # 1024 MACs, to stand beside published ASIC cores.
    "large": CoreConfig(rows=8, cols=8, depth=16, drain_columns=2, max_tokens=128, max_hidden=512),
    # 128 MACs with memories for a whole MiniLM-sized layer (simulation: 1.8 MB of weights).
    "bench": CoreConfig(rows=4, cols=4, depth=8, max_tokens=128, max_hidden=512, w_words=57344, act_words=16384,
                        kv_words=4096, res_words=32768, chan_words=8192, norm_words=2048),
}  # fmt: skip


def preset(name: str) -> CoreConfig:
    """The named preset.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]
