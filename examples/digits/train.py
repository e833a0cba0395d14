# SPDX-License-Identifier: Apache-2.0
"""Train the bundled digits model and write it as a Hugging Face style `vit` folder.

Needs torch, scikit-learn, numpy and safetensors (not part of the project's environment):

    python -m venv /tmp/torchenv
    /tmp/torchenv/bin/pip install torch==2.13.0 numpy scikit-learn safetensors
    /tmp/torchenv/bin/python examples/digits/train.py

The data are scikit-learn's 1797 digits of 8 x 8 pixels with values 0..16, split once (stratified, fixed seed) into 1347
training and 450 test images. The recipe was chosen on a validation fold of the training images (`--validate`); the test
images are looked at only by the last line of a full run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
SPLIT_SEED = 0
TEST_IMAGES = 450
CALIBRATION_IMAGES = 256
PIXEL_MAX = 16

CONFIG = {
    "_name_or_path": "digits-vit",
    "architectures": ["ViTForImageClassification"],
    "attention_probs_dropout_prob": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 64,
    "id2label": {str(digit): str(digit) for digit in range(10)},
    "image_size": 8,
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "label2id": {str(digit): digit for digit in range(10)},
    "layer_norm_eps": 1e-12,
    "model_type": "vit",
    "num_attention_heads": 4,
    "num_channels": 1,
    "num_hidden_layers": 2,
    "patch_size": 2,
    "qkv_bias": True,
    "torch_dtype": "float32",
}

PREPROCESSOR = {
    "do_normalize": False,
    "do_rescale": True,
    "do_resize": False,
    "image_processor_type": "ViTImageProcessor",
    "rescale_factor": 1 / PIXEL_MAX,
    "size": {"height": 8, "width": 8},
}


class SelfAttention(nn.Module):
    """Query, key and value projections and softmax(QK^T / sqrt(d)) V, heads concatenated: (B, T, E) -> (B, T, E)."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, hidden = x.shape
        q, k, v = (
            linear(x).view(batch, tokens, self.heads, hidden // self.heads).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(hidden // self.heads), dim=-1)
        return (weights @ v).transpose(1, 2).reshape(batch, tokens, hidden)


class Dense(nn.Module):
    """A linear map called `dense`, as Hugging Face names it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(x)


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.attention = SelfAttention(hidden, heads)
        self.output = Dense(hidden, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.attention(x))


class Layer(nn.Module):
    """One pre-norm encoder layer."""

    def __init__(self, hidden: int, heads: int, ffn: int, eps: float):
        super().__init__()
        self.attention = Attention(hidden, heads)
        self.intermediate = Dense(hidden, ffn)
        self.output = Dense(ffn, hidden)
        self.layernorm_before = nn.LayerNorm(hidden, eps=eps)
        self.layernorm_after = nn.LayerNorm(hidden, eps=eps)

    def forward(self, x: torch.Tensor, drop: float) -> torch.Tensor:
        x = x + F.dropout(self.attention(self.layernorm_before(x)), drop, self.training)
        return x + F.dropout(self.output(F.gelu(self.intermediate(self.layernorm_after(x)))), drop, self.training)


class PatchEmbeddings(nn.Module):
    """A strided convolution that turns (B, C, H, W) into (B, patches, E), row by row."""

    def __init__(self, channels: int, hidden: int, patch: int):
        super().__init__()
        self.projection = nn.Conv2d(channels, hidden, patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projection(x).flatten(2).transpose(1, 2)


class Embeddings(nn.Module):
    """Patches behind a class token, plus learned positions."""

    def __init__(self, config: dict):
        super().__init__()
        hidden, patch = config["hidden_size"], config["patch_size"]
        patches = (config["image_size"] // patch) ** 2
        self.cls_token = nn.Parameter(torch.randn(1, 1, hidden) * 0.02)
        self.position_embeddings = nn.Parameter(torch.randn(1, patches + 1, hidden) * 0.02)
        self.patch_embeddings = PatchEmbeddings(config["num_channels"], hidden, patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embeddings(x)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.position_embeddings


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: dict):
        super().__init__()
        self.layer = nn.ModuleList(
            Layer(
                config["hidden_size"],
                config["num_attention_heads"],
                config["intermediate_size"],
                config["layer_norm_eps"],
            )
            for _ in range(config["num_hidden_layers"])
        )

    def forward(self, x: torch.Tensor, drop: float) -> torch.Tensor:
        for layer in self.layer:
            x = layer(x, drop)
        return x


class ViT(nn.Module):
    """Embeddings, encoder and final LayerNorm."""

    def __init__(self, config: dict):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.layernorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])

    def forward(self, x: torch.Tensor, drop: float) -> torch.Tensor:
        return self.layernorm(self.encoder(self.embeddings(x), drop))


class ViTForImageClassification(nn.Module):
    """The whole model: (B, C, H, W) float images -> (B, labels) logits. Parameter names equal Hugging Face's."""

    def __init__(self, config: dict, drop: float = 0.0):
        super().__init__()
        self.drop = drop
        self.vit = ViT(config)
        self.classifier = nn.Linear(config["hidden_size"], len(config["id2label"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.vit(x, self.drop)[:, 0])


def load_split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test images, uint8 (N, 1, 8, 8) with values 0..16, and their labels, int64 (N,)."""
    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]
    return train_test_split(
        images, digits.target.astype(np.int64), test_size=TEST_IMAGES, random_state=SPLIT_SEED, stratify=digits.target
    )


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Randomly shift (up to one pixel), rotate (up to 11 degrees), scale and shear each image; zeros outside."""
    count = len(x)

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, shear, scale_x, scale_y = uniform(0.2), uniform(0.15), 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = torch.cos(angle), torch.sin(angle)
    row0 = torch.stack([cos * scale_x, -sin + shear, uniform(0.25)], dim=1)
    row1 = torch.stack([sin, cos * scale_y, uniform(0.25)], dim=1)
    grid = F.affine_grid(torch.stack([row0, row1], dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False).clamp(0, 1)


def train(images: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> nn.Module:
    """Train on uint8 images and labels; returns the exponentially averaged model in evaluation mode."""
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.from_numpy(images).float() / PIXEL_MAX
    y = torch.from_numpy(labels)
    model = ViTForImageClassification(CONFIG, drop=args.dropout)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(args.average)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    steps_per_epoch = math.ceil(len(x) / args.batch)
    steps = args.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=args.lr, total_steps=steps, pct_start=0.1)
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).split(args.batch):
            loss = F.cross_entropy(model(augment(x[rows], generator)), y[rows], label_smoothing=args.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            total += loss.item() * len(rows)
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}/{args.epochs}: loss {total / len(x):.4f}", flush=True)
    return average.module.eval()


@torch.no_grad()
def evaluate(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Logits (N, 10) of uint8 images."""
    return model(torch.from_numpy(images).float() / PIXEL_MAX).numpy()


def write(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that an interrupted run leaves the earlier one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON with sorted keys."""
    write(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def save_array(path: Path, value: np.ndarray) -> None:
    """Write one array as .npy."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    np.save(temporary, value)
    temporary.replace(path)


def main() -> None:
    """Train, report, and unless validating write the checkpoint, the calibration images and the test split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--validate", action="store_true", help="hold out a fifth of the training images; write no file"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.05)
    parser.add_argument("--average", type=float, default=0.995, help="decay of the exponential weight average")
    parser.add_argument("--output", type=Path, default=HERE)
    args = parser.parse_args()
    torch.set_num_threads(1)  # one thread: sums in a fixed order

    train_images, test_images, train_labels, test_labels = load_split()
    if args.validate:
        train_images, test_images, train_labels, test_labels = train_test_split(
            train_images, train_labels, test_size=0.2, random_state=SPLIT_SEED, stratify=train_labels
        )
    start = time.time()
    model = train(train_images, train_labels, args)
    seconds = time.time() - start
    logits = evaluate(model, test_images)
    correct = int((logits.argmax(1) == test_labels).sum())
    train_correct = int((evaluate(model, train_images).argmax(1) == train_labels).sum())
    print(
        f"trained in {seconds:.0f} s; {'validation' if args.validate else 'test'} {correct}/{len(test_labels)}"
        f" = {correct / len(test_labels):.2%}, training {train_correct}/{len(train_labels)}"
        f", logit std {logits.std():.3f}"
    )
    if args.validate:
        return

    checkpoint = args.output / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
    temporary = checkpoint / f".model.safetensors.{os.getpid()}"
    save_file(state, temporary, metadata={"format": "pt"})
    temporary.replace(checkpoint / "model.safetensors")
    write_json(checkpoint / "config.json", CONFIG)
    write_json(checkpoint / "preprocessor_config.json", PREPROCESSOR)
    save_array(args.output / "calibration.npy", train_images[:CALIBRATION_IMAGES])
    save_array(args.output / "test_images.npy", test_images)
    save_array(args.output / "test_labels.npy", test_labels.astype(np.uint8))
    save_array(args.output / "test_logits.npy", logits)
    write_json(
        args.output / "metrics.json",
        {
            "parameters": sum(value.numel() for value in state.values()),
            "recipe": {key: value for key, value in vars(args).items() if key not in ("validate", "output")},
            "test_correct": correct,
            "test_images": len(test_labels),
            "torch": torch.__version__,
            "train_correct": train_correct,
            "train_images": len(train_labels),
        },
    )


if __name__ == "__main__":
    main()
