# SPDX-License-Identifier: Apache-2.0
"""docs/link.md is what hw/link/protocol.py declares."""

from pathlib import Path

from gen.link.doc import markdown


def test_link_reference_matches_the_protocol():
    page = Path(__file__).parent.parent / "docs" / "link.md"
    assert page.read_text(encoding="utf-8") == markdown(), "renew it: python -m gen.link.doc > docs/link.md"
