# SPDX-License-Identifier: Apache-2.0
"""BERT: token ids, an embedding LayerNorm, post-norm layers; with a classifier, a pooler on the first row."""

from __future__ import annotations

from gen.model.architectures import Heads
from gen.model.blocks import Block, Checkpoint, FirstRow, Pooler, post_norm
from gen.model.family import Folder, family
from gen.model.inputs import TokenIds

HEADS = Heads(
    encoder="BertModel",
    classifier="BertForSequenceClassification",
    pretrained=("BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"),
    pretraining="cls.",
    every_token="BertForTokenClassification",
)


@family("bert", HEADS)
def read(folder: Folder) -> Checkpoint:
    """The encoder, and pooler and classifier where it has one."""
    config, tensors, prefix, hidden = folder.config, folder.tensors, folder.prefix, folder.sizes.hidden
    config.require("position_embedding_type", "absolute", "relative positions are not supported")
    embeddings = f"{prefix}embeddings."
    max_tokens, vocabulary = config.integer("max_position_embeddings"), config.integer("vocab_size")
    types = config.integer("type_vocab_size", 2)
    source = TokenIds(
        word=tensors.take(f"{embeddings}word_embeddings.weight", (vocabulary, hidden)),
        position=tensors.take(f"{embeddings}position_embeddings.weight", (max_tokens, hidden)),
        token_type=tensors.take(f"{embeddings}token_type_embeddings.weight", (types, hidden)),
        pad=_pad(folder),
    )
    stem = (folder.norm(f"{embeddings}LayerNorm", stream=True),)

    def layer(p: str) -> tuple[Block, ...]:
        q, k, v = (f"{p}attention.self.{name}" for name in ("query", "key", "value"))
        attention = folder.attention(q, k, v, f"{p}attention.output.dense")
        ffn = folder.feed_forward(f"{p}intermediate.dense", f"{p}output.dense")
        norm1, norm2 = folder.norm(f"{p}attention.output.LayerNorm"), folder.norm(f"{p}output.LayerNorm")
        return post_norm(attention, norm1, ffn, norm2)

    layers = folder.layers(f"{prefix}encoder.layer.", layer)
    head: tuple[Block, ...] = ()
    if folder.kind.classifier:
        pooler = Pooler(dense=folder.dense(f"{prefix}pooler.dense", hidden, hidden))
        head = (FirstRow(), pooler, folder.classifier())
    unneeded = (f"{prefix}pooler.", f"{embeddings}position_ids")
    return folder.checkpoint(
        max_tokens=max_tokens, input=source, stem=stem, layers=layers, head=head, unneeded=unneeded
    )


def _pad(folder: Folder) -> int | None:
    """The padding id: 0 unless given, none where it is null."""
    pad = folder.config.values.get("pad_token_id", 0)
    if pad is not None and type(pad) is not int:
        raise folder.config.fail("pad_token_id", "an integer or null")
    return pad
