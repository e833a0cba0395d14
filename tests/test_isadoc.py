# SPDX-License-Identifier: Apache-2.0
"""docs/program.md is what hw/program/isa.py declares."""

from pathlib import Path

from gen.program.isadoc import markdown


def test_program_reference_matches_the_layouts():
    page = Path(__file__).parent.parent / "docs" / "program.md"
    assert page.read_text() == markdown(), "renew it: python -m gen.program.isadoc > docs/program.md"
