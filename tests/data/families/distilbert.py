# SPDX-License-Identifier: Apache-2.0
"""DistilBERT's encoder: BERT's blocks under other names, without token types. An example of a family's file."""

from __future__ import annotations

import numpy as np

from gen.model.architectures import Heads
from gen.model.blocks import Block, Checkpoint, post_norm
from gen.model.family import Folder, family
from gen.model.inputs import TokenIds

HEADS = Heads(
    encoder="DistilBertModel",
    classifier="DistilBertForSequenceClassification",
    pretrained=("DistilBertForMaskedLM",),
    pretraining="vocab_",
)
KEYS = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


@family("distilbert", HEADS, KEYS)
def read(folder: Folder) -> Checkpoint:
    """The encoder alone."""
    config, tensors, hidden = folder.config, folder.tensors, folder.sizes.hidden
    embeddings = f"{folder.prefix}embeddings."
    max_tokens, vocabulary = config.integer("max_position_embeddings"), config.integer("vocab_size")
    source = TokenIds(
        word=tensors.take(f"{embeddings}word_embeddings.weight", (vocabulary, hidden)),
        position=tensors.take(f"{embeddings}position_embeddings.weight", (max_tokens, hidden)),
        token_type=np.zeros((1, hidden)),
        pad=0,
    )
    stem = (folder.norm(f"{embeddings}LayerNorm", stream=True),)

    def layer(p: str) -> tuple[Block, ...]:
        attention = folder.attention(*(f"{p}attention.{name}_lin" for name in ("q", "k", "v", "out")))
        ffn = folder.feed_forward(f"{p}ffn.lin1", f"{p}ffn.lin2")
        return post_norm(attention, folder.norm(f"{p}sa_layer_norm"), ffn, folder.norm(f"{p}output_layer_norm"))

    layers = folder.layers(f"{folder.prefix}transformer.layer.", layer)
    return folder.checkpoint(max_tokens=max_tokens, input=source, stem=stem, layers=layers, head=(), unneeded=())
