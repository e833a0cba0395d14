# SPDX-License-Identifier: Apache-2.0
"""Model families: each has a reader, which registers itself here and makes a checkpoint of an opened folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from gen.errors import InputError
from gen.model.architectures import Architecture, Heads
from gen.model.blocks import Act, Attention, Block, Checkpoint, Classifier, Dense, FeedForward, Norm
from gen.model.hfconfig import Config
from gen.model.inputs import Source
from gen.model.tensorfile import TensorFile

__all__ = ["FAMILIES", "Family", "Folder", "family"]

ACTIVATIONS: dict[str, Act] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
"""``hidden_act`` of the configuration to the activation of the common form."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the keys that most families share say of a model."""

    hidden: int
    heads: int
    ffn: int
    activation: Act
    eps: float


@dataclass(frozen=True, kw_only=True)
class Folder:
    """An opened checkpoint, and the reading of what most families have. Tensors are taken by their full names.

    Every method raises ``InputError`` where the files lack what it reads, or hold something else.
    """

    path: Path
    config: Config
    tensors: TensorFile
    prefix: str
    """Beginning of the names of the encoder's tensors: that of the family, or nothing."""
    kind: Architecture
    keys: Mapping[str, str] = field(default_factory=dict)
    """What the family calls the configuration's keys, where it is not BERT's name."""

    def key(self, name: str) -> str:
        """The family's name of the key ``name``."""
        return self.keys.get(name, name)

    @cached_property
    def sizes(self) -> Sizes:
        """Of the configuration, which is that of an encoder."""
        config = self.config
        width, number, kind = self.key("hidden_size"), self.key("num_attention_heads"), self.key("hidden_act")
        hidden, heads, act = config.integer(width), config.integer(number), config.text(kind, "gelu")
        if hidden % heads:
            raise InputError(
                f"{config.path}: {width} {hidden} is not a multiple of {number} {heads}; correct one of them"
            )
        if act not in ACTIVATIONS:
            raise InputError(
                f'{config.path}: {kind} is "{act}", which is not supported; use one of {", ".join(ACTIVATIONS)}'
            )
        for key in ("is_decoder", "is_encoder_decoder", "add_cross_attention"):
            config.require(key, False, "only encoders are supported")
        return Sizes(
            hidden=hidden,
            heads=heads,
            ffn=config.integer(self.key("intermediate_size")),
            activation=ACTIVATIONS[act],
            eps=config.number("layer_norm_eps", 1e-12),
        )

    def dense(self, name: str, outputs: int | None, inputs: int, *, bias: bool = True) -> Dense:
        """``name.weight`` [outputs, inputs] and ``name.bias``; zeros for a bias that is not there."""
        weight = self.tensors.take(f"{name}.weight", (outputs, inputs))
        shape = (len(weight),)
        zeros = np.zeros(shape, weight.dtype)
        return Dense(weight=weight, bias=self.tensors.take(f"{name}.bias", shape) if bias else zeros)

    def norm(self, name: str, *, stream: bool = False) -> Norm:
        """A LayerNorm of hidden rows."""
        shape = (self.sizes.hidden,)
        gamma, beta = self.tensors.take(f"{name}.weight", shape), self.tensors.take(f"{name}.bias", shape)
        return Norm(gamma=gamma, beta=beta, stream=stream)

    def attention(self, q: str, k: str, v: str, o: str, *, bias: bool = True) -> Attention:
        """Attention of the four matrices so named; ``bias``: whether q, k and v have one."""
        hidden = self.sizes.hidden
        return Attention(
            q=self.dense(q, hidden, hidden, bias=bias),
            k=self.dense(k, hidden, hidden, bias=bias),
            v=self.dense(v, hidden, hidden, bias=bias),
            o=self.dense(o, hidden, hidden),
        )

    def feed_forward(self, up: str, down: str) -> FeedForward:
        """FFN of the two matrices so named."""
        sizes = self.sizes
        up_dense = self.dense(up, sizes.ffn, sizes.hidden)
        return FeedForward(up=up_dense, activation=sizes.activation, down=self.dense(down, sizes.hidden, sizes.ffn))

    def classifier(self, name: str = "classifier") -> Classifier:
        """A classifier of as many classes as its weights have rows."""
        return Classifier(dense=self.dense(name, None, self.sizes.hidden))

    def layers(self, prefix: str, read: Callable[[str], tuple[Block, ...]]) -> tuple[tuple[Block, ...], ...]:
        """Every layer, ``read`` given the beginning of its tensors' names: ``prefix``, its number and a dot."""
        key = self.key("num_hidden_layers")
        count = self.config.integer(key)
        if (held := self.tensors.count(prefix)) != count:
            raise InputError(
                f"{self.config.path}: {key} is {count}, and {self.tensors.path} holds {held} layers; "
                "correct it, or fetch the config.json that belongs to these weights"
            )
        return tuple(read(f"{prefix}{index}.") for index in range(count))

    def checkpoint(
        self,
        *,
        max_tokens: int,
        input: Source,
        stem: tuple[Block, ...],
        layers: tuple[tuple[Block, ...], ...],
        head: tuple[Block, ...],
        unneeded: tuple[str, ...],
    ) -> Checkpoint:
        """The checkpoint of these blocks; ``unneeded``: beginnings of names of tensors that may be left."""
        sizes = self.sizes
        return Checkpoint(
            name=self._name(),
            input=input,
            hidden=sizes.hidden,
            heads=sizes.heads,
            head_dim=sizes.hidden // sizes.heads,
            ffn=sizes.ffn,
            max_tokens=max_tokens,
            eps=sizes.eps,
            stem=stem,
            layers=layers,
            head=head,
            labels=self._labels(head),
            notes=self.kind.notes,
            unused=self._unused(unneeded),
        )

    def _name(self) -> str:
        """The name the configuration gives, else the folder's, without characters that a file name should not carry."""
        name = self.config.text("_name_or_path", "").rstrip("/").rpartition("/")[2] or self.path.resolve().name
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", name) or "model"

    def _labels(self, head: tuple[Block, ...]) -> tuple[str, ...]:
        """Names of the classes, in order; none for a regression, which is one output that nobody named."""
        count = sum(len(block.dense.bias) for block in head if isinstance(block, Classifier))
        names = self.config.values.get("id2label")
        if count == 0 or (count == 1 and names in (None, {"0": "LABEL_0"})):
            return ()
        if names is None:
            return tuple(f"LABEL_{index}" for index in range(count))
        if not isinstance(names, dict) or set(names) != {str(index) for index in range(count)}:
            raise InputError(
                f"{self.config.path}: id2label must name the classifier's outputs 0..{count - 1}; correct or remove it"
            )
        return tuple(str(names[str(index)]) for index in range(count))

    def _unused(self, unneeded: tuple[str, ...]) -> tuple[str, ...]:
        """Tensors left over; one that is not known to be unneeded would change the result and is refused."""
        for name in self.tensors.left:
            if not name.startswith((*unneeded, self.kind.heads)):
                raise InputError(
                    f"{self.tensors.path}: tensor {name} has no place in a {self.kind.name}, so the model would "
                    "compute something else; export the encoder with its sequence or image classifier only, and the "
                    "config.json that says so"
                )
        return tuple(self.tensors.left)


Reader = Callable[[Folder], Checkpoint]


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the checkpoints of one ``model_type`` are read."""

    heads: Heads
    read: Reader
    keys: Mapping[str, str]


FAMILIES: dict[str, Family] = {}
"""By ``model_type``; :mod:`gen.model.families` fills it."""


def family(model_type: str, heads: Heads, keys: Mapping[str, str] | None = None) -> Callable[[Reader], Reader]:
    """Registers the function below it as the reader of ``model_type``; see :attr:`Folder.keys`."""

    def register(read: Reader) -> Reader:
        FAMILIES[model_type] = Family(heads=heads, read=read, keys=keys or {})
        return read

    return register
