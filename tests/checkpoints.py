# SPDX-License-Identifier: Apache-2.0
"""What tests of checkpoint folders share: a folder to change, changes, and what is said of a folder that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from gen.errors import InputError
from gen.model.checkpoint import read_checkpoint

__all__ = ["BERT", "edit_config", "edit_tensors", "refusal"]

BERT = Path(__file__).resolve().parent / "data" / "bert_tiny"


def edit_config(folder: Path, **changes: object) -> None:
    """Set entries of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder: Path, edit: Callable[[dict], object]) -> None:
    """Change the tensors, as a dict of arrays, in place."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.copy() for name, tensor in load_file(path).items()}
    edit(tensors)
    save_file(tensors, path)


def refusal(folder: Path, *words: str) -> str:
    """The message with which ``folder`` is refused: one line that holds every one of ``words``."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert "; " in message  # what to do about it
    return message
