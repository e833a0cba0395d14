# SPDX-License-Identifier: Apache-2.0
"""The JSON that commands print and folders hold."""

from __future__ import annotations

import json

import numpy as np

__all__ = ["json_text"]


def json_text(value: object, *, indent: int | None = 2) -> str:
    """``value``, with NumPy's and pathlib's types as JSON has them.

    Raises
    ------
    ValueError
        If a number in it is not finite: JSON has no such numbers, and what is not defined is ``None``.
    """
    return json.dumps(value, indent=indent, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
