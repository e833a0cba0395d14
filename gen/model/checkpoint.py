# SPDX-License-Identifier: Apache-2.0
"""Reads a Hugging Face style folder (config.json and safetensors) into the float form of :mod:`gen.model.blocks`.

Supported: every ``model_type`` that a file of :mod:`gen.model.families` reads, in the architectures that it names, with
or without the family's prefix (``bert.``). Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import gen.model.families  # noqa: F401 (its readers register themselves)
from gen.errors import InputError
from gen.files import read_bytes
from gen.model.architectures import architecture
from gen.model.blocks import Checkpoint
from gen.model.family import FAMILIES, Folder
from gen.model.hfconfig import Config
from gen.model.preprocessing import PREPROCESSING
from gen.model.tensorfile import TensorFile, open_tensors

__all__ = ["read_checkpoint", "shortened"]


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read ``folder``.

    Raises
    ------
    InputError
        If a file is missing, damaged or not what it claims to be, a tensor is missing, misshapen or not finite, or
        the model needs something that is not supported.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder with config.json and model.safetensors")
    config = Config(folder / "config.json")
    model_type = config.text("model_type")
    if model_type not in FAMILIES:
        known = " or ".join(f'"{name}"' for name in FAMILIES)
        raise InputError(f'{config.path}: model_type is "{model_type}", which is not supported; use a {known} encoder')
    family = FAMILIES[model_type]
    tensors = open_tensors(folder)
    prefix = f"{model_type}." if tensors.starts_with(f"{model_type}.") else ""
    kind = architecture(config, tensors, family.heads, prefix)
    opened = Folder(path=folder, config=config, tensors=tensors, prefix=prefix, kind=kind, keys=family.keys)
    return replace(family.read(opened), source=_source(folder, tensors))


def shortened(checkpoint: Checkpoint, max_tokens: int) -> Checkpoint:
    """``checkpoint`` for sequences of at most ``max_tokens``.

    Raises
    ------
    InputError
        If it has fewer positions, or its sequences all have the length of an image.
    """
    if max_tokens == checkpoint.max_tokens:
        return checkpoint
    source = checkpoint.input.shortened(max_tokens, checkpoint.name)
    if not 1 <= max_tokens < checkpoint.max_tokens:
        raise InputError(
            f"--max-tokens {max_tokens}: {checkpoint.name} has positions for 1..{checkpoint.max_tokens} tokens; give "
            "one of these"
        )
    return replace(checkpoint, max_tokens=max_tokens, input=source)


def _source(folder: Path, tensors: TensorFile) -> str:
    """Hash of what the model is read from: the tensors' contents, however stored, and the configurations' bytes."""
    digest = sha256(tensors.sha256.encode())
    for name in ("config.json", PREPROCESSING):
        if (folder / name).exists():
            data = read_bytes(folder / name)
            digest.update(f"\n{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()
