# SPDX-License-Identifier: Apache-2.0
"""One file for a quantised model: a safetensors file whose header also holds the model's structure and a hash.

The header's only metadata entry, ``rtlformer``, is JSON: ``{"format": 3, "model": ..., "sha256": ...}``. ``model`` is
the dataclass of :mod:`sim.qmodel` as nested objects, each array replaced by the name of its tensor. The hash covers
``model`` and every tensor, so that a file altered anywhere is refused; and a file whose hash is right is still one of a
model, with types, shapes and ranges that :mod:`sim.qmodel` and :mod:`gen.model.modelcheck` ask for, or refused.
"""

from __future__ import annotations

import dataclasses
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from gen.errors import InputError, brief
from gen.files import read_bytes, write_bytes
from gen.jsonfile import parse_json
from gen.model.modelcheck import check_values
from gen.schema import Misfit, decode, describe
from sim.qmodel import QuantModel

FORMAT = 3
KEY = "rtlformer"


def save_model(model: QuantModel, path: str | Path) -> str:
    """Write ``model`` in one step and return its content hash. The bytes depend on nothing but the model.

    Raises
    ------
    InputError
        If the file cannot be written, or :func:`load_model` would refuse it; an earlier one stays untouched.
    """
    try:
        check_values(model)
    except Misfit as error:
        raise InputError(f"{path}: no core runs this model ({error}); bring the weights in range") from None
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
    again = "quantise the checkpoint again"
    data = read_bytes(path)
    try:
        tensors = safetensors.numpy.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: truncated or altered ({brief(error)}); {again}") from None
    if KEY not in metadata:
        raise InputError(f"{path}: not a quantised model; make one with `rtlformer quantize`")
    try:
        header = parse_json(metadata[KEY])
        found, structure, digest = header["format"], header["model"], header["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged header ({brief(error)}); {again}") from None
    if describe(found) != str(FORMAT):
        raise InputError(f"{path}: format {describe(found)}, this version reads {FORMAT}; {again}")

    def unwrap(kind: type, value: Any) -> Any:
        name, found = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (None, None)
        if kind is np.ndarray and name == "tensor" and isinstance(found, str):
            return tensors.get(found)
        return found if kind is dict and name == "map" else value

    try:
        model = decode(QuantModel, structure, unwrap=unwrap)
    except Misfit as error:
        raise InputError(f"{path}: altered, or made by another version ({brief(error)}); {again}") from None
    if content_hash(model) != digest:
        raise InputError(f"{path}: content does not match its hash, so it was altered; {again}")
    try:
        check_values(model)
    except Misfit as error:
        raise InputError(f"{path}: altered, for no such model exists ({brief(error)}); {again}") from None
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


def _digest(structure: dict, tensors: dict[str, np.ndarray]) -> str:
    digest = sha256(json.dumps(structure, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
