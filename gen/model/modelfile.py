# SPDX-License-Identifier: Apache-2.0
"""One file for a quantised model: a safetensors file whose header also holds the model's structure and a hash.

The header's only metadata entry, ``rtlformer``, is JSON: ``{"format": 1, "model": ..., "sha256": ...}``. ``model`` is
the dataclass of :mod:`sim.qmodel` as nested objects, each array replaced by the name of its tensor. The hash covers
``model`` and every tensor, so that a file altered anywhere is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from gen.errors import InputError
from gen.files import read_bytes, write_bytes
from sim import qmodel
from sim.qmodel import QuantModel

FORMAT = 1
KEY = "rtlformer"
CLASSES = {
    cls.__name__: cls
    for cls in (
        qmodel.Linear,
        qmodel.Activation,
        qmodel.Norm,
        qmodel.Attention,
        qmodel.FeedForward,
        qmodel.Layer,
        qmodel.PatchInput,
        qmodel.ResidualInput,
        qmodel.OperandInput,
        qmodel.Pooler,
        qmodel.QuantModel,
    )
}


def save_model(model: QuantModel, path: str | Path) -> str:
    """Write ``model`` in one step and return its content hash. The bytes depend on nothing but the model.

    Raises
    ------
    InputError
        If the file cannot be written; an earlier one stays untouched.
    """
    structure, tensors = _encode(model)
    digest = _digest(structure, tensors)
    header = {"format": FORMAT, "model": structure, "sha256": digest}
    # One entry: safetensors keeps no order among several.
    metadata = {KEY: json.dumps(header, sort_keys=True, allow_nan=False)}
    write_bytes(path, safetensors.numpy.save(tensors, metadata))
    return digest


def load_model(path: str | Path) -> QuantModel:
    """Read what :func:`save_model` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, is truncated or altered, is no model file or one of another format version.
    """
    data = read_bytes(path)
    try:
        tensors = safetensors.numpy.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path}: truncated or altered ({error}); quantise the checkpoint again") from None
    if KEY not in metadata:
        raise InputError(f"{path}: not a quantised model; make one with `rtlformer quantize`")
    try:
        header = json.loads(metadata[KEY])
        found = header["format"]
        if found == FORMAT and header["sha256"] != _digest(header["model"], tensors):
            raise InputError(
                f"{path}: content does not match its hash, so it was altered; quantise the checkpoint again"
            )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged header ({error}); quantise the checkpoint again") from None
    if found != FORMAT:
        raise InputError(f"{path}: format {found}, this version reads {FORMAT}; quantise the checkpoint again")
    try:
        model = _decode(header["model"], tensors)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: made by another version ({error}); quantise the checkpoint again") from None
    if not isinstance(model, QuantModel):
        raise InputError(f"{path}: holds no whole model; quantise the checkpoint again")
    return model


def content_hash(model: QuantModel) -> str:
    """SHA-256 of everything in ``model``: equal for equal models, whatever file they are in."""
    return _digest(*_encode(model))


def _encode(model: QuantModel) -> tuple[dict, dict[str, np.ndarray]]:
    tensors: dict[str, np.ndarray] = {}

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, np.ndarray):
            tensors[name] = np.ascontiguousarray(value)
            return {"tensor": name}
        if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value)]
            prefix = f"{name}." if name else ""
            return {"class": type(value).__name__} | {f: walk(getattr(value, f), prefix + f) for f in fields}
        if isinstance(value, tuple):
            return [walk(item, f"{name}.{index}") for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {"map": value}
        return value

    return walk(model, ""), tensors


def _decode(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, tensors) for item in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "map" in value:
        return value["map"]
    build: Callable = CLASSES[value["class"]]
    return build(**{name: _decode(item, tensors) for name, item in value.items() if name != "class"})


def _digest(structure: dict, tensors: dict[str, np.ndarray]) -> str:
    digest = sha256(json.dumps(structure, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
