# SPDX-License-Identifier: Apache-2.0
"""ViT: patches of an image behind a class token, pre-norm layers, a final LayerNorm; a classifier on the first row."""

from __future__ import annotations

from gen.errors import InputError
from gen.model.architectures import Heads
from gen.model.blocks import Block, Checkpoint, Dense, FirstRow, PatchEmbedding, pre_norm
from gen.model.family import Folder, family
from gen.model.inputs import Images
from gen.model.preprocessing import preprocessing

HEADS = Heads(
    encoder="ViTModel",
    classifier="ViTForImageClassification",
    pretrained=("ViTForMaskedImageModeling",),
    pretraining="decoder.",
)


@family("vit", HEADS)
def read(folder: Folder) -> Checkpoint:
    """The encoder, and the classifier where it has one."""
    prefix = folder.prefix
    source, embedding = _patches(folder, f"{prefix}embeddings.")
    bias = folder.config.flag("qkv_bias", True)

    def layer(p: str) -> tuple[Block, ...]:
        q, k, v = (f"{p}attention.attention.{name}" for name in ("query", "key", "value"))
        attention = folder.attention(q, k, v, f"{p}attention.output.dense", bias=bias)
        ffn = folder.feed_forward(f"{p}intermediate.dense", f"{p}output.dense")
        return pre_norm(folder.norm(f"{p}layernorm_before"), attention, folder.norm(f"{p}layernorm_after"), ffn)

    layers = folder.layers(f"{prefix}encoder.layer.", layer)
    classified = folder.kind.classifier
    norm = folder.norm(f"{prefix}layernorm", stream=not classified)
    return folder.checkpoint(
        max_tokens=len(embedding.position),
        input=source,
        stem=(embedding,),
        layers=layers,
        head=(FirstRow(), norm, folder.classifier()) if classified else (norm,),
        unneeded=(f"{prefix}pooler.", f"{prefix}embeddings.mask_token"),
    )


def _patches(folder: Folder, prefix: str) -> tuple[Images, PatchEmbedding]:
    config, tensors, hidden = folder.config, folder.tensors, folder.sizes.hidden
    channels = config.integer("num_channels", 3)
    image, patch = config.pair("image_size"), config.pair("patch_size")
    if image[0] % patch[0] or image[1] % patch[1]:
        raise InputError(
            f"{config.path}: image_size {image[0]} x {image[1]} is not a multiple of patch_size {patch[0]} x {patch[1]}"
            "; correct one of them"
        )
    count = (image[0] // patch[0]) * (image[1] // patch[1])
    weight = tensors.take(f"{prefix}patch_embeddings.projection.weight", (hidden, channels, *patch))
    scale, offset = preprocessing(folder.path, channels)
    bias = tensors.take(f"{prefix}patch_embeddings.projection.bias", (hidden,))
    embedding = PatchEmbedding(
        dense=Dense(weight=weight.reshape(hidden, -1), bias=bias),
        cls=tensors.take(f"{prefix}cls_token", (1, 1, hidden))[0, 0],
        position=tensors.take(f"{prefix}position_embeddings", (1, count + 1, hidden))[0],
        scale=scale,
        offset=offset,
    )
    return Images(image=(channels, *image), patch=patch), embedding
