# SPDX-License-Identifier: Apache-2.0
"""Files of inputs on the command line, for the checkpoint that the model is of, and results shown as what they are."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gen.cli.app import run
from gen.cli.data import read_inputs, show_outputs
from gen.emit.manifest import open_design
from gen.errors import InputError
from gen.model.checkpoint import read_checkpoint
from gen.model.floatmodel import forward
from gen.model.inputs import tokenized
from gen.model.modelfile import load_model
from sim import reference
from tests.checkpoints import BERT, edit_config, edit_tensors
from tests.commandline import quantize, small_model, write_stand_in

BATCH = {
    "input_ids": np.array([[0, 0, 3, 1, 4, 9], [2, 6, 5, 3, 5, 8], [0, 7, 0, 9, 3, 2]] * 4),
    "token_type_ids": np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]] * 4),
    "attention_mask": np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]] * 4),
}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    np.savez(tmp_path / "tokens.npz", **BATCH)
    return tmp_path / "tokens.npz"


def designed(checkpoint: Path, calibration: Path, *more: object):
    """Quantise by the command line, and open what 'generate' would make of it, but for its core."""
    place = calibration.parent
    arguments = quantize(checkpoint, place / "m", "--force", *more, calibration=calibration)
    assert run([str(a) for a in arguments]) == 0
    write_stand_in(place / "design", load_model(place / "m"))
    return open_design(place / "design")


def refused(design, path: Path, checkpoint: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_inputs(design, path, checkpoint)
    assert all(word in str(caught.value) for word in ("; ", *words)), caught.value


def test_what_a_tokenizer_wrote_reaches_golden_and_float(bert: Path, tokens: Path):
    """Calibration, float reference and the core's rows all see the types, and no padding."""
    design = designed(bert, tokens)
    rows = read_inputs(design, tokens, bert)
    assert [len(x) for x in rows] == [4, 6, 5] * 4
    expected = forward(read_checkpoint(bert), tokenized(BATCH, "x"))
    found = np.array([reference.forward(design.model, x)["output"] for x in rows]) * design.model.scales["output"]
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1 * expected.std()
    assert len(read_inputs(design, tokens, bert, limit=2)) == 2


def test_checkpoint_is_matched_by_content(bert: Path, tokens: Path):
    design = designed(bert, tokens)
    assert design.model.source == read_checkpoint(BERT).source
    renamed = bert.rename(bert.with_name("renamed"))
    assert read_checkpoint(renamed).name != design.model.name
    assert len(read_inputs(design, tokens, renamed)) == 12
    edit_config(renamed, _name_or_path=design.model.name)  # another configuration under the same name
    assert read_checkpoint(renamed).name == design.model.name
    refused(design, tokens, renamed, "renamed", "configuration and tensors", "quantised from")


def test_other_weights_of_the_same_name_are_refused(bert: Path, tokens: Path):
    design = designed(bert, tokens)
    edit_tensors(bert, lambda t: t["bert.embeddings.word_embeddings.weight"].__imul__(-1))
    refused(design, tokens, bert, "configuration and tensors")


def test_max_tokens(bert: Path, tokens: Path, tmp_path: Path):
    design = designed(bert, tokens, "--max-tokens", 6)
    assert design.model.max_tokens == 6
    assert len(read_inputs(design, tokens, bert)) == 12
    np.save(tmp_path / "long.npy", np.ones((1, 7), int))
    refused(design, tmp_path / "long.npy", bert, "long.npy: sample 0 has 7 tokens", "1..6", "--max-tokens", "--fit")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("x.npy", np.array([[3, 4], [5, 99]]), ["x.npy: sample 1: token id 99", "0..10"]),
        ("x.npy", np.ones((2, 10), int), ["x.npy: sample 0 has 10 tokens", "1..9", "--max-tokens"]),
        ("x.npz", {"input_ids": np.ones((1, 4), int), "extra": np.ones((1, 4), int)}, ["x.npz: array extra"]),
        ("x.npz", {"attention_mask": np.ones((1, 4), int)}, ["x.npz", "without input_ids"]),
        ("x.npz", {"input_ids": np.full((1, 3), 5), "attention_mask": np.array([[1, 0, 1]])}, ["x.npz", "hole"]),
    ],
)
def test_bad_calibration_names_file_and_fault(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, array: object, words: list[str]
):
    path = tmp_path / name
    np.savez(path, **array) if isinstance(array, dict) else np.save(path, array)
    assert run([str(a) for a in quantize(bert, tmp_path / "m", calibration=path)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert all(word in message for word in ("; ", *words)), message


def test_token_ids_without_their_checkpoint(bert: Path, tokens: Path):
    refused(designed(bert, tokens), tokens, None, "tokens.npz", "give --checkpoint")


@pytest.mark.parametrize(("names", "shown"), [({"0": "LABEL_0"}, "input 0: ["), ({"0": "stars"}, "input 0: stars  [")])
def test_a_regression_is_shown_as_a_value(bert: Path, tokens: Path, names: dict, shown: str):
    edit_config(bert, id2label=names)
    edit_tensors(bert, lambda t: t.update({n: t[n][:1].copy() for n in ("classifier.weight", "classifier.bias")}))
    design, text = designed(bert, tokens, "--max-error", 100), io.StringIO()
    show_outputs(Console(file=text, width=120), design, [np.array([7])])
    assert text.getvalue().startswith(shown)


def test_bundled_inputs_are_for_the_bundled_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    """A model of the same name is another one."""
    write_stand_in(tmp_path / "design", replace(small_model(), name="digits-vit"))
    assert run(["verify", str(tmp_path / "design"), "--rungs", "rtl"]) == 2
    assert "no inputs are bundled; give --input" in capsys.readouterr().err


def test_quantize_reports_its_source(bert: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run([str(a) for a in quantize(bert, tmp_path / "m", "--json", calibration=tokens)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["source_sha256"] == read_checkpoint(BERT).source and result["classes"] == 3
