# SPDX-License-Identifier: Apache-2.0
"""What stands on an encoder: ``architectures`` of config.json decides; where that is absent, the tensors do, and the
reader says so."""

from __future__ import annotations

from dataclasses import dataclass

from gen.errors import InputError
from gen.model.hfconfig import Config
from gen.model.tensorfile import TensorFile

__all__ = ["Architecture", "Heads", "architecture"]


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The architectures of a model family: names that ``architectures`` may hold."""

    encoder: str
    """Nothing on the encoder."""
    classifier: str
    """A classifier on the first row."""
    pretrained: tuple[str, ...]
    """Pre-training heads, which are left out."""
    pretraining: str
    """Beginning of the names of their tensors."""
    every_token: str | None = None
    """A classifier on every row, which is refused; it is one without a pooler."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How a checkpoint is read."""

    name: str
    classifier: bool
    """A classifier on the first row; else hidden rows come out."""
    heads: str
    """Beginning of the names of tensors of pre-training heads, which are left out."""
    notes: tuple[str, ...]
    """What the user should know of it."""


def architecture(config: Config, tensors: TensorFile, heads: Heads, prefix: str) -> Architecture:
    """How to read the checkpoint of ``config`` and ``tensors``, whose encoder's names start with ``prefix``.

    Raises
    ------
    InputError
        If it is of an architecture that the core cannot run.
    """
    classified, pretrained = tensors.starts_with("classifier."), tensors.starts_with(heads.pretraining)
    name, notes = _named(config), []
    named = f"architectures names {name}"
    if name is None:
        name = heads.classifier if classified else heads.encoder
        if heads.every_token and classified and not tensors.starts_with(f"{prefix}pooler."):
            name = heads.every_token
        what = "its classifier reads the first token alone" if classified else "hidden rows come out"
        named = f"names no architectures, by its tensors taken for {name}"
        notes.append(f"{config.path} {named}: {what}")
    known = (heads.classifier, heads.encoder, *heads.pretrained)
    if name == heads.every_token:
        raise InputError(
            f"{config.path}: {named}, which is not supported, for its classifier reads every token; set architectures "
            f"to {heads.encoder} and take the classifier.* tensors out, to apply them to the rows that come out"
        )
    if name not in known:
        raise InputError(f"{config.path}: {named}, which is not supported; export one of {', '.join(known)}")
    classifier = name == heads.classifier
    if pretrained or name in heads.pretrained:
        result = "the classifier's logits" if classifier else "hidden rows"
        notes.append(f"the pre-training head ({heads.pretraining}*) is left out: {result} come out")
    return Architecture(name=name, classifier=classifier, heads=heads.pretraining, notes=tuple(notes))


def _named(config: Config) -> str | None:
    """The one entry of ``architectures``, or ``None`` where there is none."""
    names = config.values.get("architectures")
    if names is None or names == []:
        return None
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise config.fail("architectures", "a list of one name")
    return names[0]
