# SPDX-License-Identifier: Apache-2.0
"""The error that quantize and demo print."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gen.cli.app import run
from gen.model.accuracy import output_error
from tests.commandline import CALIBRATION, quantize


def test_output_error():
    assert output_error([1.0, 3.0], [0.0, 4.0]) == 0.5
    assert output_error(np.zeros((2, 3)), np.arange(6).reshape(2, 3)) == pytest.approx(np.sqrt(55 / 6 / (35 / 12)))


@pytest.mark.parametrize("expected", [[0.0] * 4, [0.1] * 7, [5.0]])
def test_output_error_that_is_not_defined(expected: list[float]):
    """Warnings are errors here: none may come of the division either."""
    assert output_error(np.ones(len(expected)), expected) is None


@pytest.mark.parametrize("kind", ["classifier of zeros", "one label, one sample"])
def test_quantize_says_so(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture, kind: str):
    tensors = {name: tensor.copy() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    samples = np.load(CALIBRATION)[:32]
    if kind == "classifier of zeros":
        tensors["classifier.weight"][:], tensors["classifier.bias"][:] = 0, 0.1
    else:
        samples = samples[:1]
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][:1].copy()
        config = json.loads((checkpoint / "config.json").read_text()) | {"id2label": {"0": "x"}, "label2id": {"x": 0}}
        (checkpoint / "config.json").write_text(json.dumps(config))
    save_file(tensors, checkpoint / "model.safetensors")
    np.save(tmp_path / "x.npy", samples)
    arguments = [str(a) for a in quantize(checkpoint, tmp_path / "m", "--force", calibration=tmp_path / "x.npy")]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output_error"] is None
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert "not defined" in captured.out and "inf" not in captured.out and "nan" not in captured.out
    assert "Warning" not in captured.err
