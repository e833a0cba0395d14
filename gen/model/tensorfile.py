# SPDX-License-Identifier: Apache-2.0
"""Checked access to the float tensors of a checkpoint: one safetensors file, or several and their index."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors

from gen.errors import InputError, brief
from gen.files import read_bytes
from gen.model.hfconfig import Config

Float = npt.NDArray[np.floating]

FLOAT_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""Stored type to the NumPy type of the same bytes; BF16 is the upper half of a float32."""


def shape_text(shape: tuple[int | None, ...]) -> str:
    """``64 x 256``, with ``?`` for a dimension that may be anything."""
    return " x ".join("?" if size is None else str(size) for size in shape) or "scalar"


class TensorFile:
    """The tensors of a checkpoint, each to be taken once, by name.

    Parameters
    ----------
    path : the file to name in messages
    entries : what :func:`safetensors.deserialize` gives, by name

    Attributes
    ----------
    sha256 : hash of all names, types, shapes and values, which does not depend on how they are dealt out to files
    """

    def __init__(self, path: Path, entries: dict[str, dict]):
        self.path = path
        self._entries: dict[str, dict] = {}
        digest = sha256()
        for stored in sorted(entries):
            entry = entries[stored]
            digest.update(f"\n{stored} {entry['dtype']} {entry['shape']}\n".encode())
            digest.update(entry["data"])
            name = _modern(stored)
            if name in self._entries:
                raise InputError(f"{path}: tensor {name} is there twice, also as {stored}; export the model again")
            self._entries[name] = entry
        self.sha256 = digest.hexdigest()

    def starts_with(self, prefix: str) -> bool:
        """Whether a tensor's name starts with ``prefix``."""
        return any(name.startswith(prefix) for name in self._entries)

    def count(self, prefix: str) -> int:
        """One more than the largest number that follows ``prefix`` in a name; 0 where there is none."""
        numbers = [name[len(prefix) :].partition(".")[0] for name in self._entries if name.startswith(prefix)]
        numbers = [number for number in numbers if re.fullmatch("[0-9]{1,9}", number)]  # int takes 4300 digits at most
        return max((int(number) + 1 for number in numbers), default=0)

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


def open_tensors(folder: Path) -> TensorFile:
    """The tensors of a checkpoint folder: model.safetensors, or the files that model.safetensors.index.json names.

    Raises
    ------
    InputError
        If a file is missing, cannot be read, is not a whole safetensors file or not what the index says.
    """
    path, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if path.exists():
        return TensorFile(path, _read(path))
    if index.exists():
        return TensorFile(index, _read_shards(folder, Config(index)))
    if parts := sorted(folder.glob("*.safetensors")):
        raise InputError(
            f"{parts[0]}: there is neither {path.name} nor {index.name}, which says what other files hold; fetch the "
            f"one that belongs to it, or rename a file that holds all to {path.name}"
        )
    if others := [found for pattern in FOREIGN for found in sorted(folder.glob(pattern))]:
        raise InputError(
            f"{others[0]}: is not in the safetensors format; convert it in Python, where PyTorch and transformers are: "
            f"transformers.AutoModel.from_pretrained(folder).save_pretrained(new_folder) (AutoModelFor... for a model "
            "with a classifier)"
        )
    raise InputError(f"{path}: no such file; fetch or export the whole folder")


FOREIGN = (
    "pytorch_model*.bin",
    "model*.bin",
    "*model*.pt",
    "*model*.pth",
    "*.ckpt",
    "tf_model*.h5",
    "flax_model*.msgpack",
)
"""Files that hold weights in other formats."""


def _read(path: Path) -> dict[str, dict]:
    data = read_bytes(path)
    try:
        return dict(safetensors.deserialize(data))
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path}: not a complete safetensors file ({brief(error)}), so truncated or altered; fetch it again"
        ) from None


def _read_shards(folder: Path, index: Config) -> dict[str, dict]:
    names = index.values.get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise index.fail("weight_map", "an object that gives each tensor's file")
    found: dict[str, dict] = {}
    for file in sorted(set(names.values())):
        if Path(file).name != file:
            raise InputError(f"{index.path}: names {file}, which is no file of this folder; fetch it again")
        entries = _read(folder / file)
        if wrong := sorted(entries.keys() ^ {name for name, place in names.items() if place == file}):
            raise InputError(
                f"{folder / file}: {'holds' if wrong[0] in entries else 'lacks'} tensor {wrong[0]}, and "
                f"{index.path.name} says otherwise; fetch both again"
            )
        found |= entries
    return found


def _modern(name: str) -> str:
    """The name that today's transformers give a tensor: DataParallel puts ``module.`` before it, and old BERT
    checkpoints call a LayerNorm's weight gamma and its bias beta."""
    name = name.removeprefix("module.")
    for old, new in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name
