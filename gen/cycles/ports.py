# SPDX-License-Identifier: Apache-2.0
"""Ports of RES and ACT in the cycle model, which the drain, LayerNorm and STORE share."""

from __future__ import annotations

from hw.config import CoreConfig

__all__ = ["Claims"]


class Claims:
    """When the drain, which comes first, uses each port."""

    def __init__(self, config: CoreConfig):
        self._cycles = {name: bytearray() for name in ("res_read", "res_write", "act_write")}
        self._beats = config.tile_beats

    def claim(self, port: str, start: int, spacing: int, tiles: int) -> None:
        """The drain takes ``port`` for the beats of ``tiles`` tiles, ``spacing`` cycles apart, from ``start`` on."""
        cycles, end = self._cycles[port], start + spacing * tiles
        if len(cycles) < end:
            cycles.extend(bytes(2 * end - len(cycles)))
        cycles[start:end] = (b"\1" * self._beats + bytes(spacing - self._beats)) * tiles

    def free(self, port: str, cycle: int) -> bool:
        """Whether ``port`` is left to others in ``cycle``."""
        cycles = self._cycles[port]
        return cycle >= len(cycles) or not cycles[cycle]
