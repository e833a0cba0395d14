# SPDX-License-Identifier: Apache-2.0
"""What an image processor does to pixels before the model sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.model.hfconfig import Config

__all__ = ["PREPROCESSING", "preprocessing"]

Float = npt.NDArray[np.floating]

PREPROCESSING = "preprocessor_config.json"


def preprocessing(folder: Path, channels: int) -> tuple[Float, Float]:
    """Scale and offset of each channel's pixels, by preprocessor_config.json.

    The defaults, also where the file is absent, are ViTImageProcessor's: pixel / 255, then mean 0.5 and deviation 0.5.

    Raises
    ------
    InputError
        If a value is not what it must be.
    """
    path = folder / PREPROCESSING
    scale, mean, std = 1 / 255, [0.5] * channels, [0.5] * channels
    if path.exists():
        config = Config(path)
        scale = config.number("rescale_factor", scale) if config.flag("do_rescale", True) else 1.0
        if config.flag("do_normalize", True):
            mean, std = config.numbers("image_mean", channels, mean), config.numbers("image_std", channels, std)
        else:
            mean, std = [0.0] * channels, [1.0] * channels
        if min(std) <= 0:
            raise config.fail("image_std", "positive")
    return scale / np.array(std), -np.array(mean) / np.array(std)
