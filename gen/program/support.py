# SPDX-License-Identifier: Apache-2.0
"""Which models a core runs: blocks in an order that has a schedule, kernels and sizes that it has."""

from __future__ import annotations

from gen.errors import InputError
from hw.array.pe_array import ACC_BITS
from hw.config import CoreConfig
from sim.blocks import Block, Norm, OrderError, check_order
from sim.qmodel import QuantModel, activations, linears

__all__ = ["check_model"]

PRODUCT_BITS = 15
"""A product of uint8 and int8 is below 2 to this power."""
HEAD_DIM_MAX = (1 << 9) - 1
"""Of a product of int8 and int8, at most 2^14, so many sum up below 2^23: scores are 24 bits."""

Order = tuple[str, ...]

# A norm that makes the residual stream too has a star.
_PRE: Order = ("norm", "attention", "residual", "norm", "ffn", "residual")
_POST: Order = ("attention", "residual", "norm*", "ffn", "residual", "norm*")
_SCHEDULES: dict[Order, tuple[tuple[Order, ...], tuple[Order, ...]]] = {
    _PRE: (
        (("patches", "embedding"), ("residual",)),
        (
            (),
            ("norm*",),
            ("first_row", "norm", "classifier"),
            ("first_row", "norm", "pooler", "classifier"),
        ),
    ),
    _POST: (
        (("residual", "norm*"),),
        ((), ("first_row", "classifier"), ("first_row", "pooler", "classifier")),
    ),
}
"""By the order of a layer: what may stand before the layers, the kind of input first, and behind them."""
_BARE: tuple[Order, Order] = (("operands",), ("attention",))


def _order(blocks: tuple[Block, ...]) -> Order:
    return tuple(f"{block.noun}*" if isinstance(block, Norm) and block.stream else block.noun for block in blocks)


def _unscheduled(model: QuantModel) -> str | None:
    """The part of ``model`` that no schedule has, in words; None where there is a schedule for it."""
    start, end = (model.input.kind, *_order(model.stem)), _order(model.head)
    layers = [_order(layer) for layer in model.layers]
    if not layers:
        return None if (start, end) == _BARE else f"no layers between {_text(start)} and {_text(end)}"
    if layers[0] not in _SCHEDULES:
        return f"layers of {_text(layers[0])}"
    if differing := [index for index, layer in enumerate(layers) if layer != layers[0]]:
        return f"layer {differing[0]} of {_text(layers[differing[0]])} behind layers of {_text(layers[0])}"
    starts, ends = _SCHEDULES[layers[0]]
    if start not in starts:
        return f"{_text(start)} before {model.norm}-norm layers"
    return None if end in ends else f"{_text(end)} behind {model.norm}-norm layers"


def _text(order: Order) -> str:
    return ", ".join(order) or "nothing"


def check_model(model: QuantModel, config: CoreConfig) -> None:
    """Refuse a model that the core's kernels, limits or schedules do not cover.

    Raises
    ------
    InputError
        The message names what is not supported.
    """

    def refuse(condition: bool, reason: str, way_out: str) -> None:
        if condition:
            raise InputError(f"model {model.name}: {reason}; {way_out}")

    blocks = [block for _, block in model.named()]
    refuse(
        model.max_tokens > config.max_tokens,
        f"its {model.max_tokens} tokens exceed the core's max_tokens of {config.max_tokens}",
        "generate with --fit, raise max_tokens in --config, or quantise with a smaller --max-tokens",
    )
    refuse(
        any(isinstance(block, Norm) for block in blocks) and model.hidden > config.max_hidden,
        f"its hidden size {model.hidden} exceeds the core's max_hidden of {config.max_hidden}",
        "raise max_hidden",
    )
    refuse(
        model.exp != config.exp,
        f"it was quantised for exp={model.exp} and the core has exp={config.exp}",
        "quantise again, or change exp",
    )
    for activation in (activation for block in blocks for activation in activations(block)):
        refuse(
            activation.kind not in ("relu", config.gelu),
            f"it was quantised for gelu={activation.kind} and the core has gelu={config.gelu}",
            "quantise again, or change gelu",
        )
    longest = max((matrix.weight.shape[1] for block in blocks for matrix in linears(block)), default=0)
    limit = 1 << (ACC_BITS - 1 - PRODUCT_BITS)
    refuse(
        longest > limit, f"a contraction of {longest} overflows the {ACC_BITS}-bit accumulators", f"use at most {limit}"
    )
    refuse(
        model.head_dim > HEAD_DIM_MAX,
        f"a head size of {model.head_dim} overflows the 24-bit scores",
        f"use at most {HEAD_DIM_MAX}",
    )
    try:
        check_order(model.named(), model.input)
    except OrderError as error:
        refuse(True, str(error), "correct the order of its blocks")
    unscheduled = _unscheduled(model)
    refuse(
        unscheduled is not None,
        f"there is no schedule for {unscheduled}",
        "use pre-norm layers on patches or rows, post-norm layers behind an embedding norm, or a bare attention block",
    )
