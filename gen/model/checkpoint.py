# SPDX-License-Identifier: Apache-2.0
"""Reads a Hugging Face style folder (config.json and safetensors) into one common float form.

Supported: ``model_type`` ``vit`` and ``bert`` in the architectures that :mod:`gen.model.architectures` knows, with or
without their ``vit.`` / ``bert.`` prefix. Everything else is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from gen.errors import InputError
from gen.files import read_bytes
from gen.model.architectures import MODEL_TYPES, Architecture, architecture
from gen.model.hfconfig import Config
from gen.model.preprocessing import PREPROCESSING, preprocessing
from gen.model.tensorfile import TensorFile, open_tensors

Float = npt.NDArray[np.floating]
Act = Literal["gelu", "gelu_tanh", "relu"]

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """``x @ weight.T + bias``."""

    weight: Float  # [out, in]
    bias: Float  # [out]


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """Scale and offset of a LayerNorm."""

    gamma: Float  # [hidden]
    beta: Float  # [hidden]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionWeights:
    """Multi-head attention: ``o(softmax(q(x) k(x)^T / sqrt(head_dim)) v(x))``, head by head."""

    q: Dense  # [heads * head_dim, hidden]
    k: Dense
    v: Dense
    o: Dense  # [hidden, heads * head_dim]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderLayer:
    """One layer. Pre-norm: norm1 stands before the attention, norm2 before the FFN; post-norm: behind them."""

    attention: AttentionWeights
    norm1: Affine
    norm2: Affine
    up: Dense  # [ffn, hidden]
    down: Dense  # [hidden, ffn]


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchEmbedding:
    """uint8 images to residual rows: class token, then ``dense(scale * pixel + offset)`` of each patch, plus position.

    A patch's pixels run channel, row, column; patches run row by row.
    """

    dense: Dense  # [hidden, channels * patch height * patch width]
    cls: Float  # [hidden]
    position: Float  # [1 + patches, hidden]
    image: tuple[int, int, int]  # channels, height, width
    patch: tuple[int, int]  # height, width
    scale: Float  # [channels]
    offset: Float  # [channels]


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenEmbedding:
    """Token ids to residual rows: ``layernorm(word[id] + position[i] + token_type[t])``."""

    word: Float  # [vocabulary, hidden]
    position: Float  # [max_tokens, hidden]
    token_type: Float  # [types, hidden]
    norm: Affine
    pad: int | None = None  # trailing ids of this value are padding


@dataclass(frozen=True, kw_only=True, eq=False)
class RowEmbedding:
    """Float rows [tokens, hidden] that are the residual stream themselves, behind a LayerNorm where there is one."""

    norm: Affine | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class BareAttention:
    """Float rows [tokens, hidden] go through this attention block, and that is all: the model has no layers."""

    attention: AttentionWeights


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """An encoder in the common float form."""

    name: str
    norm: Literal["pre", "post"]
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    max_tokens: int
    activation: Act
    eps: float
    embedding: PatchEmbedding | TokenEmbedding | RowEmbedding | BareAttention
    layers: tuple[EncoderLayer, ...]
    final_norm: Affine | None = None  # pre-norm models
    pooler: Dense | None = None  # tanh(dense(first row)), only beside a classifier
    classifier: Dense | None = None
    labels: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    """Tensors of the file that the encoder does not need (pre-training heads, a pooler without a classifier)."""
    notes: tuple[str, ...] = ()
    """What was assumed or left out, a sentence each."""
    source: str = ""
    """SHA-256 of the configuration and the tensors; "" where there was no file."""


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
    if model_type not in MODEL_TYPES:
        raise InputError(
            f'{config.path}: model_type is "{model_type}", which is not supported; use a "vit" or "bert" encoder'
        )
    tensors = open_tensors(folder)
    prefix = f"{model_type}." if tensors.starts_with(f"{model_type}.") else ""
    kind = architecture(config, tensors, model_type, prefix)
    checkpoint = {"vit": _read_vit, "bert": _read_bert}[model_type](folder, config, tensors, prefix, kind)
    return replace(checkpoint, notes=kind.notes, source=_source(folder, tensors))


def shortened(checkpoint: Checkpoint, max_tokens: int) -> Checkpoint:
    """``checkpoint`` for sequences of at most ``max_tokens``.

    Raises
    ------
    InputError
        If it has fewer positions, or its sequences all have the length of an image.
    """
    if max_tokens == checkpoint.max_tokens:
        return checkpoint
    embedding = checkpoint.embedding
    if isinstance(embedding, PatchEmbedding):
        raise InputError(
            f"--max-tokens {max_tokens}: an image is {checkpoint.max_tokens} tokens to {checkpoint.name}, no fewer and "
            "no more; leave --max-tokens out"
        )
    if not 1 <= max_tokens < checkpoint.max_tokens:
        raise InputError(
            f"--max-tokens {max_tokens}: {checkpoint.name} has positions for 1..{checkpoint.max_tokens} tokens; give "
            "one of these"
        )
    if isinstance(embedding, TokenEmbedding):
        embedding = replace(embedding, position=embedding.position[:max_tokens])
    return replace(checkpoint, max_tokens=max_tokens, embedding=embedding)


def _source(folder: Path, tensors: TensorFile) -> str:
    """Hash of what the model is read from: the tensors' contents, however stored, and the configurations' bytes."""
    digest = sha256(tensors.sha256.encode())
    for name in ("config.json", PREPROCESSING):
        if (folder / name).exists():
            data = read_bytes(folder / name)
            digest.update(f"\n{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _dimensions(config: Config) -> dict:
    """Fields that both model types share."""
    hidden = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    if hidden % heads:
        raise InputError(
            f"{config.path}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}; correct one of them"
        )
    act = config.text("hidden_act", "gelu")
    if act not in ACTIVATIONS:
        raise InputError(
            f'{config.path}: hidden_act is "{act}", which is not supported; use one of {", ".join(ACTIVATIONS)}'
        )
    config.require("is_decoder", False, "only encoders are supported")
    config.require("is_encoder_decoder", False, "only encoders are supported")
    config.require("add_cross_attention", False, "only encoders are supported")
    return {
        "hidden": hidden,
        "heads": heads,
        "head_dim": hidden // heads,
        "ffn": config.integer("intermediate_size"),
        "activation": ACTIVATIONS[act],
        "eps": config.number("layer_norm_eps", 1e-12),
    }


def _dense(tensors: TensorFile, name: str, outputs: int | None, inputs: int, *, bias: bool = True) -> Dense:
    weight = tensors.take(f"{name}.weight", (outputs, inputs))
    shape = (len(weight),)
    return Dense(weight=weight, bias=tensors.take(f"{name}.bias", shape) if bias else np.zeros(shape, weight.dtype))


def _affine(tensors: TensorFile, name: str, hidden: int) -> Affine:
    return Affine(gamma=tensors.take(f"{name}.weight", (hidden,)), beta=tensors.take(f"{name}.bias", (hidden,)))


def _layers(
    tensors: TensorFile, prefix: str, config: Config, size: dict, names: tuple[str, str, str], qkv_bias: bool = True
) -> tuple[EncoderLayer, ...]:
    """All encoder layers; ``names``: the module that holds query, key and value, and the two LayerNorms."""
    hidden, ffn = size["hidden"], size["ffn"]
    attention, norm1, norm2 = names
    layers, count = [], config.integer("num_hidden_layers")
    if (held := tensors.count(f"{prefix}encoder.layer.")) != count:
        raise InputError(
            f"{config.path}: num_hidden_layers is {count}, and {tensors.path} holds {held} layers; correct it, or "
            "fetch the config.json that belongs to these weights"
        )
    for index in range(count):
        p = f"{prefix}encoder.layer.{index}."
        layers.append(
            EncoderLayer(
                attention=AttentionWeights(
                    q=_dense(tensors, f"{p}{attention}.query", hidden, hidden, bias=qkv_bias),
                    k=_dense(tensors, f"{p}{attention}.key", hidden, hidden, bias=qkv_bias),
                    v=_dense(tensors, f"{p}{attention}.value", hidden, hidden, bias=qkv_bias),
                    o=_dense(tensors, f"{p}attention.output.dense", hidden, hidden),
                ),
                norm1=_affine(tensors, p + norm1, hidden),
                norm2=_affine(tensors, p + norm2, hidden),
                up=_dense(tensors, f"{p}intermediate.dense", ffn, hidden),
                down=_dense(tensors, f"{p}output.dense", hidden, ffn),
            )
        )
    return tuple(layers)


def _read_vit(folder: Path, config: Config, tensors: TensorFile, prefix: str, kind: Architecture) -> Checkpoint:
    size = _dimensions(config)
    hidden = size["hidden"]
    embedding = _patch_embedding(folder, config, tensors, f"{prefix}embeddings.", hidden)
    names = ("attention.attention", "layernorm_before", "layernorm_after")
    layers = _layers(tensors, prefix, config, size, names, config.flag("qkv_bias", True))
    final_norm = _affine(tensors, f"{prefix}layernorm", hidden)
    classifier = _dense(tensors, "classifier", None, hidden) if kind.classifier else None
    return Checkpoint(
        name=_name(folder, config),
        norm="pre",
        max_tokens=len(embedding.position),
        embedding=embedding,
        layers=layers,
        final_norm=final_norm,
        classifier=classifier,
        labels=_labels(config, classifier),
        unused=_unused(tensors, kind, (f"{prefix}pooler.", f"{prefix}embeddings.mask_token")),
        **size,
    )


def _patch_embedding(folder: Path, config: Config, tensors: TensorFile, prefix: str, hidden: int) -> PatchEmbedding:
    channels = config.integer("num_channels", 3)
    image, patch = config.pair("image_size"), config.pair("patch_size")
    if image[0] % patch[0] or image[1] % patch[1]:
        raise InputError(
            f"{config.path}: image_size {image[0]} x {image[1]} is not a multiple of patch_size {patch[0]} x {patch[1]}"
            "; correct one of them"
        )
    patches = (image[0] // patch[0]) * (image[1] // patch[1])
    weight = tensors.take(f"{prefix}patch_embeddings.projection.weight", (hidden, channels, *patch))
    scale, offset = preprocessing(folder, channels)
    return PatchEmbedding(
        dense=Dense(
            weight=weight.reshape(hidden, -1),
            bias=tensors.take(f"{prefix}patch_embeddings.projection.bias", (hidden,)),
        ),
        cls=tensors.take(f"{prefix}cls_token", (1, 1, hidden))[0, 0],
        position=tensors.take(f"{prefix}position_embeddings", (1, patches + 1, hidden))[0],
        image=(channels, *image),
        patch=patch,
        scale=scale,
        offset=offset,
    )


def _read_bert(folder: Path, config: Config, tensors: TensorFile, prefix: str, kind: Architecture) -> Checkpoint:
    config.require("position_embedding_type", "absolute", "relative positions are not supported")
    size = _dimensions(config)
    hidden = size["hidden"]
    embeddings = f"{prefix}embeddings."
    max_tokens, vocabulary = config.integer("max_position_embeddings"), config.integer("vocab_size")
    types = config.integer("type_vocab_size", 2)
    embedding = TokenEmbedding(
        word=tensors.take(f"{embeddings}word_embeddings.weight", (vocabulary, hidden)),
        position=tensors.take(f"{embeddings}position_embeddings.weight", (max_tokens, hidden)),
        token_type=tensors.take(f"{embeddings}token_type_embeddings.weight", (types, hidden)),
        norm=_affine(tensors, f"{embeddings}LayerNorm", hidden),
        pad=_pad(config),
    )
    names = ("attention.self", "attention.output.LayerNorm", "output.LayerNorm")
    layers = _layers(tensors, prefix, config, size, names)
    classifier = pooler = None
    if kind.classifier:
        pooler = _dense(tensors, f"{prefix}pooler.dense", hidden, hidden)
        classifier = _dense(tensors, "classifier", None, hidden)
    return Checkpoint(
        name=_name(folder, config),
        norm="post",
        max_tokens=max_tokens,
        embedding=embedding,
        layers=layers,
        pooler=pooler,
        classifier=classifier,
        labels=_labels(config, classifier),
        unused=_unused(tensors, kind, (f"{prefix}pooler.", f"{embeddings}position_ids")),
        **size,
    )


def _pad(config: Config) -> int | None:
    """The padding id: 0 unless given, none where it is null."""
    pad = config.values.get("pad_token_id", 0)
    if pad is not None and type(pad) is not int:
        raise config.fail("pad_token_id", "an integer or null")
    return pad


def _name(folder: Path, config: Config) -> str:
    """The name the configuration gives, else the folder's, without characters that a file name should not carry."""
    name = config.text("_name_or_path", "").rstrip("/").rpartition("/")[2] or folder.resolve().name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name) or "model"


def _labels(config: Config, classifier: Dense | None) -> tuple[str, ...]:
    """Names of the classes, in order; none for the one output of a regression, unless the configuration names it."""
    if classifier is None:
        return ()
    count = len(classifier.bias)
    names = config.values.get("id2label")
    if count == 1 and names in (None, {"0": "LABEL_0"}):
        return ()
    if names is None:
        return tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(names, dict) or set(names) != {str(index) for index in range(count)}:
        raise InputError(
            f"{config.path}: id2label must name the classifier's outputs 0..{count - 1}; correct or remove it"
        )
    return tuple(str(names[str(index)]) for index in range(count))


def _unused(tensors: TensorFile, kind: Architecture, known: tuple[str, ...]) -> tuple[str, ...]:
    """Tensors left over; one that is not ``known`` to be unneeded would change the result and is refused."""
    for name in tensors.left:
        if not name.startswith((*known, kind.heads)):
            raise InputError(
                f"{tensors.path}: tensor {name} has no place in a {kind.name}, so the model would compute something "
                "else; export the encoder with its sequence or image classifier only, and the config.json that says so"
            )
    return tuple(tensors.left)
