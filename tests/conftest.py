# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

import shutil
import signal
from pathlib import Path

import hypothesis
import pytest

from gen.model.modelfile import save_model
from tests.checkpoints import BERT
from tests.commandline import DIGITS, small_model

# The same examples in every run: a failure seen once is seen again.
hypothesis.settings.register_profile("rtlformer", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("rtlformer")

# Shells start background jobs deaf to interrupts, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The digits checkpoint, to be changed."""
    return shutil.copytree(DIGITS / "checkpoint", tmp_path / "checkpoint")


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """The digits checkpoint in a folder of another name, to be changed."""
    return shutil.copytree(DIGITS / "checkpoint", tmp_path / "vit")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A small text classifier's folder, to be changed."""
    return shutil.copytree(BERT, tmp_path / "bert")


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A small model's file."""
    save_model(small_model(), tmp_path / "small.model")
    return tmp_path / "small.model"
