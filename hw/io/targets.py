# SPDX-License-Identifier: SHL-2.1
"""The packets that load memories."""

from collections.abc import Mapping, Sequence
from zlib import crc32

from ..config import CoreConfig
from ..memories import LOADABLE
from ..program.loads import PacketHeader, Target
from ..structs import pack

__all__ = ["load_crc", "load_packet_bytes", "packet_header", "stream_units"]


def stream_units(config: CoreConfig) -> dict[Target, int]:
    """Stream words that each target holds: what the addresses and counts of load packets are in."""
    return {target: memory.geometry(config).units for target, memory in LOADABLE.items()}


def packet_header(target: Target, *, count: int, address: int = 0, is_input: bool = False) -> int:
    """First word of a load packet of ``count`` words; ``address`` in stream words.

    Raises
    ------
    ValueError
        If address or count does not fit its 24 bits.
    """
    for name, value in (("address", address), ("count", count)):
        if not 0 <= value < 1 << 24:
            raise ValueError(f"{name} must have at most 24 bits, not {value}")
    fields = {"target": target, "input": is_input, "address": address, "count": count, "reserved": 0}
    return pack(PacketHeader, fields)


def load_packet_bytes(config: CoreConfig, images: Mapping[Target, Sequence[int]]) -> list[bytes]:
    """Load packets, as little-endian stream words, that fill every target with its words from word 0 on.

    A word narrower than a stream word has one to itself. Targets go in order of their numbers: REGION, without which
    the core takes no input, comes last.
    """
    packets = []
    for target, words in sorted(images.items(), key=lambda item: item[0].value):
        if words:
            size = LOADABLE[target].geometry(config).bytes
            padding = bytes(max(8 - size, 0))
            data = b"".join(int(word).to_bytes(size, "little") + padding for word in words)
            packets.append(packet_header(target, count=len(data) // 8).to_bytes(8, "little") + data)
    return packets


def load_crc(config: CoreConfig, images: Mapping[Target, Sequence[int]]) -> int:
    """CRC-32 of these packets: what LOAD_CRC is while ``images``, and nothing else, have been loaded."""
    return crc32(b"".join(load_packet_bytes(config, images)))
