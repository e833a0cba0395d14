# SPDX-License-Identifier: Apache-2.0
"""The configuration sweep: a covering set, in which every pair of values of any two factors appears together."""

from itertools import combinations, product
from random import Random

from hw.config import CoreConfig

SHAPES = {"2x2x4": 1, "4x4x8": 1, "1x16x8": 4, "2x4x16": 1, "8x8x16": 2}
"""Array shapes and their drain columns."""

FACTORS: dict[str, tuple] = {
    "array": tuple(SHAPES),
    "tokens": (1, 5, 16, 17, 50),
    "heads": (1, 2, 3, 4),
    "head_dim": (8, 12, 16, 32),
    "hidden": (20, 36, 50, 64),
    "norm": ("pre", "post"),
    "exp": ("base2", "ibert"),
    "gelu": ("table", "ibert"),
    "layers": (1, 2),
    "head": ("rows", "classifier"),
}

Case = dict[str, object]

_SAME, _CROSSED = {("base2", "table"), ("ibert", "ibert")}, {("base2", "ibert"), ("ibert", "table")}
KERNELS = {array: (_CROSSED if number % 2 else _SAME) for number, array in enumerate(SHAPES)}
"""Pairs of exp and gelu of each array: enough to cover every pair, on two cores an array rather than four."""


def allowed(case: Case) -> bool:
    """Whether some core of the sweep can run the (perhaps unfinished) case."""
    arrays = [case["array"]] if "array" in case else list(SHAPES)
    return any(
        case.get("exp", exp) == exp and case.get("gelu", gelu) == gelu
        for array in arrays
        for exp, gelu in KERNELS[str(array)]
    )


def pairs(case: Case) -> set[tuple]:
    """Every pair of (factor, value) in a case."""
    return set(combinations(((name, case[name]) for name in FACTORS), 2))


def covering_cases(seed: int = 1) -> list[Case]:
    """Greedy: each case takes an uncovered pair and, for the other factors, the values that cover most."""
    random = Random(seed)
    names = list(FACTORS)
    wanted = {((a, x), (b, y)) for a, b in combinations(names, 2) for x, y in product(FACTORS[a], FACTORS[b])}
    cases = []
    while wanted:
        best: tuple[int, Case] = (-1, {})
        for _ in range(20):
            case: Case = dict(random.choice(sorted(wanted, key=repr)))
            rest = [name for name in names if name not in case]
            random.shuffle(rest)
            for name in rest:
                gain = {v: _gain(case, name, v, wanted) for v in FACTORS[name] if allowed({**case, name: v})}
                top = max(gain.values())
                case[name] = random.choice([v for v, g in gain.items() if g == top])
            score = len(pairs({name: case[name] for name in names}) & wanted)
            best = max(best, (score, case), key=lambda scored: scored[0])
        case = {name: best[1][name] for name in names}
        wanted -= pairs(case)
        cases.append(case)
    return cases


def _gain(case: Case, name: str, value: object, wanted: set[tuple]) -> int:
    order = list(FACTORS)
    found = 0
    for other, chosen in case.items():
        pair = sorted(((other, chosen), (name, value)), key=lambda item: order.index(item[0]))
        found += tuple(pair) in wanted
    return found


def core_of(case: Case) -> CoreConfig:
    """The core that runs a case: one for each array shape and pair of kernels, its memories fit every case."""
    rows, cols, depth = (int(n) for n in str(case["array"]).split("x"))
    word = cols * depth
    tile = rows * depth
    columns = SHAPES[str(case["array"])]
    return CoreConfig(
        rows=rows,
        cols=cols,
        depth=depth,
        drain_columns=columns,
        max_tokens=50,
        max_hidden=64,
        exp=str(case["exp"]),
        gelu=str(case["gelu"]),
        w_words=131072 // word,
        act_words=65536 // tile,
        kv_words=32768 // word,
        res_words=16384 // (rows * columns),
        chan_words=2048 // columns,
        norm_words=1024 // columns,
    )
