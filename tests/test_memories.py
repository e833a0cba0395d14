# SPDX-License-Identifier: Apache-2.0
"""The table of memories, and what derives from it."""

from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from gen.emit.memdoc import markdown
from hw.config import PRESETS, CoreConfig, preset
from hw.memories import CORE_MEMORIES, LOADABLE, MEMORIES
from hw.program.loads import Target

DOCUMENT = Path(__file__).parent.parent / "docs" / "memories.md"
NO_CAPACITY = {"rows", "cols", "depth", "drain_columns", "slots", "max_tokens", "max_hidden", "exp", "gelu", "dense"}


def test_every_target_and_every_capacity_has_one_memory():
    assert list(LOADABLE) == list(Target)
    assert all(memory.target.name == memory.name for memory in LOADABLE.values())
    capacities = [memory.capacity for memory in MEMORIES.values() if memory.capacity]
    assert sorted(capacities) == sorted({field.name for field in fields(CoreConfig)} - NO_CAPACITY)


@pytest.mark.parametrize("name", PRESETS)
def test_geometry_follows_the_configuration(name):
    for config in (preset(name), replace(preset(name), gelu="ibert")):
        for memory in MEMORIES.values():
            shape = memory.geometry(config)
            assert shape.bits % 8 == 0 and memory.stored(config) <= shape.granularity, memory.name
            assert memory.unit(config) in (1, 512), memory.name
            if memory.capacity:
                grown = replace(config, **{memory.capacity: getattr(config, memory.capacity) + 1})
                assert memory.geometry(grown).words == shape.words + memory.unit(config), memory.name


def test_words_hold_what_the_table_says():
    c = CoreConfig(rows=2, cols=8, depth=16, drain_columns=4, slots=4, max_tokens=40)
    sizes = {"W": 128, "ACT": 32, "KV": 128, "RES": 16, "CHAN": 32, "NORM": 32, "HEAD": 8, "TABLE": 1, "PROG": 8,
             "REGION": 8, "PROB": 32, "SCORE": 24}  # fmt: skip
    assert {name: memory.geometry(c).bytes for name, memory in MEMORIES.items()} == sizes
    rings = {name: memory.geometry(c).words for name, memory in MEMORIES.items() if memory.ring}
    assert rings == {"PROB": 4 * 4, "SCORE": 4 * 16}  # three PROB words, twelve beats a row block, rounded up
    assert {memory.name: memory.used for memory in CORE_MEMORIES if memory.used} == {"CHAN": 54, "NORM": 48, "HEAD": 44}


def test_capacities_have_defaults_and_limits():
    for memory in MEMORIES.values():
        if memory.capacity:
            field = next(field for field in fields(CoreConfig) if field.name == memory.capacity)
            assert field.default is not MISSING
            with pytest.raises(ValueError, match=f"{memory.capacity} must be at most {field.metadata['most']}, not"):
                replace(preset("edge"), **{memory.capacity: field.metadata["most"] + 1})


def test_the_page_is_what_the_table_says():
    assert DOCUMENT.read_text() == markdown(), "renew it: python -m gen.emit.memdoc > docs/memories.md"
