# SPDX-License-Identifier: Apache-2.0
"""How far integer results are from those of the float model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["output_error"]


def output_error(found: npt.ArrayLike, expected: npt.ArrayLike) -> float | None:
    """RMS of ``found - expected`` over the standard deviation of ``expected``.

    None where that is not defined: all of ``expected`` are equal, as one logit of one sample is.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if not np.ptp(expected):  # whose deviation may be a little above 0, from rounding
        return None
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())
