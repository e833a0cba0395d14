# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/bert_tiny: a random BertForSequenceClassification folder and its logits by torch's encoder layer.

Needs torch (see examples/digits/train.py). The reference is torch.nn.TransformerEncoderLayer, an implementation that
shares nothing with gen/model/floatmodel.py.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent / "bert_tiny"
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "hidden_act": "gelu_new",
    "hidden_size": 12,
    "id2label": {"0": "no", "1": "yes", "2": "maybe"},
    "intermediate_size": 20,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 9,
    "model_type": "bert",
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": 11,
}


def main() -> None:
    """Draw the weights, run torch, write the folder."""
    torch.manual_seed(7)
    hidden, ffn, heads = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_attention_heads"]
    layers = [
        nn.TransformerEncoderLayer(
            hidden, heads, ffn, 0.0, partial(nn.functional.gelu, approximate="tanh"), CONFIG["layer_norm_eps"], True
        ).eval()
        for _ in range(CONFIG["num_hidden_layers"])
    ]
    tables = {
        name: torch.randn(count, hidden)
        for name, count in (("word", CONFIG["vocab_size"]), ("position", 9), ("token_type", 2))
    }
    norm = nn.LayerNorm(hidden, eps=CONFIG["layer_norm_eps"])
    pooler, classifier = nn.Linear(hidden, hidden), nn.Linear(hidden, 3)
    for module in (*layers, norm):
        for name, value in module.named_parameters():
            nn.init.normal_(value, 1.0 if "norm" in name and "weight" in name or module is norm else 0.0, 0.4)
    state = {f"bert.embeddings.{name}_embeddings.weight": table for name, table in tables.items()}

    def put(name: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = weight.detach().clone(), bias.detach().clone()

    put("bert.embeddings.LayerNorm", norm.weight, norm.bias)
    for index, layer in enumerate(layers):
        p = f"bert.encoder.layer.{index}."
        weights, biases = layer.self_attn.in_proj_weight.chunk(3), layer.self_attn.in_proj_bias.chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            put(f"{p}attention.self.{name}", weight, bias)
        put(f"{p}attention.output.dense", layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias)
        put(f"{p}attention.output.LayerNorm", layer.norm1.weight, layer.norm1.bias)
        put(f"{p}intermediate.dense", layer.linear1.weight, layer.linear1.bias)
        put(f"{p}output.dense", layer.linear2.weight, layer.linear2.bias)
        put(f"{p}output.LayerNorm", layer.norm2.weight, layer.norm2.bias)
    put("bert.pooler.dense", pooler.weight, pooler.bias)
    put("classifier", classifier.weight, classifier.bias)

    ids = np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 7, 10, 8, 0, 0, 0, 0, 0], [1, 0, 6, 0, 3, 0, 0, 0, 0]])
    lengths = [9, 4, 5]
    logits, rows = [], []
    with torch.no_grad():
        for row, length in zip(ids, lengths, strict=True):
            tokens = torch.from_numpy(row[:length])
            x = norm(tables["word"][tokens] + tables["position"][:length] + tables["token_type"][0])[None]
            for layer in layers:
                x = layer(x)
            rows.append(x[0])
            logits.append(classifier(torch.tanh(pooler(x[0, 0]))))
    HERE.mkdir(exist_ok=True)
    (HERE / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file({name: value.contiguous() for name, value in state.items()}, HERE / "model.safetensors")
    np.savez(HERE / "expected.npz", ids=ids, lengths=lengths, logits=torch.stack(logits), rows=torch.cat(rows))


if __name__ == "__main__":
    main()
