# SPDX-License-Identifier: Apache-2.0
"""Text that others wrote (labels, file names, what tools say), made fit to stand in a line of ours."""

from __future__ import annotations

import re

__all__ = ["one_line"]

_BREAKS = re.compile(r"[ \t]*[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]\s*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # what reverses a line's direction, too


def one_line(text: str) -> str:
    """``text`` as given, but for line breaks and tabs, which become a space, and control characters, which vanish.

    A terminal obeys control characters, and a line break could forge a line of ours.
    """
    return _CONTROL.sub("", _BREAKS.sub(" ", text).replace("\t", " "))
