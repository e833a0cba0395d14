# SPDX-License-Identifier: Apache-2.0
"""docs/build.py: the site builds without a warning, and nothing public of hw/ is missing from it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commandline import ROOT


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path: Path):
    made = subprocess.run(
        [sys.executable, "docs/build.py", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert (tmp_path / "index.html").exists() and "hw.core.TransformerCore" in (tmp_path / "genindex.html").read_text()
