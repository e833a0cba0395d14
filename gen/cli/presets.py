# SPDX-License-Identifier: Apache-2.0
"""``rtlformer presets``."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from gen.cli.common import json_option, show
from hw.config import PRESETS, CoreConfig
from hw.memories import CORE_MEMORIES, MEMORIES, Memory


@click.command("presets", short_help="List presets.", epilog="\b\nExample:\n  rtlformer presets --json")
@json_option
def command(as_json: bool) -> None:
    """List the presets of cores: array, kernels, capacities."""
    rows = {
        name: asdict(config)
        | {
            "array": config.array,
            "macs": config.macs,
            "memory_kib": round(sum(_kib(memory, config) for memory in CORE_MEMORIES), 1),
            "fingerprint": config.fingerprint,
        }
        for name, config in PRESETS.items()
    }

    def render(console: Console) -> None:
        table = Table(box=None, pad_edge=False)
        names = ("preset", "array", "MACs", "exp", "gelu", "tokens", "hidden", "weights", "all memories")
        for column in names:
            table.add_column(column, justify="left" if column in ("preset", "array", "exp", "gelu") else "right")
        for name, row in rows.items():
            weights = _kib(MEMORIES["W"], PRESETS[name])
            table.add_row(
                name, row["array"], str(row["macs"]), row["exp"], row["gelu"], str(row["max_tokens"]),
                str(row["max_hidden"]), f"{weights:g} KiB", f"{row['memory_kib']:g} KiB",
            )  # fmt: skip
        console.print(table)

    show(rows, as_json, render)


def _kib(memory: Memory, config: CoreConfig) -> float:
    shape = memory.geometry(config)
    return shape.words * shape.bits / 8192
