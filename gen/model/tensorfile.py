# SPDX-License-Identifier: Apache-2.0
"""Checked access to the float tensors of a safetensors file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors

from gen.errors import InputError, brief
from gen.files import read_bytes

Float = npt.NDArray[np.floating]

FLOAT_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""Stored type to the NumPy type of the same bytes; BF16 is the upper half of a float32."""


def shape_text(shape: tuple[int | None, ...]) -> str:
    """``64 x 256``, with ``?`` for a dimension that may be anything."""
    return " x ".join("?" if size is None else str(size) for size in shape) or "scalar"


class TensorFile:
    """The tensors of a file, each to be taken once, by name.

    Raises
    ------
    InputError
        If the file cannot be read or is not a whole safetensors file.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            entries = safetensors.deserialize(read_bytes(path))
        except safetensors.SafetensorError as error:
            raise InputError(
                f"{path}: not a complete safetensors file ({brief(error)}), so truncated or altered; fetch it again"
            ) from None
        self._entries: dict[str, dict] = {_modern(name): entry for name, entry in entries}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def starts_with(self, prefix: str) -> bool:
        """Whether a tensor's name starts with ``prefix``."""
        return any(name.startswith(prefix) for name in self._entries)

    @property
    def left(self) -> list[str]:
        """Names of the tensors not taken, sorted."""
        return sorted(self._entries)

    def take(self, name: str, shape: tuple[int | None, ...]) -> Float:
        """The tensor ``name`` as float32 (float64 where stored so); it is taken out of :attr:`left`.

        ``None`` in ``shape`` accepts any size of at least one.

        Raises
        ------
        InputError
            If it is missing, misshapen, not of a float type, or holds NaN or infinity.
        """
        entry = self._entries.pop(name, None)
        if entry is None:
            raise InputError(f"{self.path}: tensor {name} is missing; export the whole model again")
        found = tuple(entry["shape"])
        if len(found) != len(shape) or any(f == 0 or s not in (None, f) for f, s in zip(found, shape, strict=True)):
            raise InputError(
                f"{self.path}: tensor {name} has shape {shape_text(found)}, config.json asks for {shape_text(shape)}"
                "; use the config.json that belongs to these weights"
            )
        kind = FLOAT_TYPES.get(entry["dtype"])
        if kind is None:
            raise InputError(
                f"{self.path}: tensor {name} has type {entry['dtype']}, which is not supported;"
                f" store it as one of {', '.join(FLOAT_TYPES)}"
            )
        values = np.frombuffer(entry["data"], dtype=np.dtype(kind).newbyteorder("<")).reshape(found)
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values = values.astype(np.float64 if entry["dtype"] == "F64" else np.float32)
        bad = np.count_nonzero(~np.isfinite(values))
        if bad:
            raise InputError(
                f"{self.path}: tensor {name} holds {bad} NaN or infinite value(s); train or export the model again"
            )
        return values


def _modern(name: str) -> str:
    """Old BERT checkpoints call a LayerNorm's weight gamma and its bias beta."""
    for old, new in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name
