# SPDX-License-Identifier: Apache-2.0
"""Builds the site: the pages of docs/ and what the docstrings say, in build/docs. A warning is an error.

``make docs`` runs it. Pages of the docstrings are made here, one per folder of the source; no one writes them by hand.
"""

from __future__ import annotations

import ast
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"hw": "Hardware", "sim": "Simulation", "gen": "Generator", "boards": "Boards"}
PAGES = ["architecture", "numerics", "program", "memories", "registers", "link", "boards", "performance"]


def modules(package: str) -> Iterator[str]:
    """Dotted names of a package's modules, those that are run and testbenches apart."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not name.endswith("__main__") and not f"{name}.".startswith("sim.tb."):
            yield name


def public(module: str) -> Iterator[str]:
    """Dotted names of a module's public classes and functions."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{module}.{node.name}"


def write_sources(folder: Path) -> None:
    """The pages, and one of directives for each folder of the source."""
    for page in (ROOT / "docs").glob("*"):
        if page.suffix in (".md", ".svg"):
            shutil.copy(page, folder)
    index = [".. toctree::", "   :maxdepth: 1", "", *(f"   {page}" for page in PAGES)]
    for package, title in PACKAGES.items():
        rooms: dict[str, list[str]] = {}
        for name in modules(package):
            rooms.setdefault(".".join(name.split(".")[:2]), []).append(name)
        index += ["", ".. toctree::", "   :maxdepth: 1", f"   :caption: {title}", "", *(f"   api/{r}" for r in rooms)]
        for room, names in rooms.items():
            text = [f"{room}\n{'=' * len(room)}"]
            for name in names:
                text += [] if name == room else [f"{name}\n{'-' * len(name)}"]
                text += [f".. automodule:: {name}"]
            (folder / "api").mkdir(exist_ok=True)
            (folder / "api" / f"{room}.rst").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    (folder / "index.rst").write_text("\n".join(["rtlformer\n=========", "", *index, ""]), encoding="utf-8")


def missing(site: Path) -> list[str]:
    """Public classes and functions of hw/ that the site does not have."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    known = {name for kind in ("py:class", "py:exception", "py:function") for name in inventory.get(kind, {})}
    return [name for module in modules("hw") for name in public(module) if name not in known]


def main(site: Path) -> int:
    """Build into ``site``; the exit status."""
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        write_sources(Path(folder))
        app = Sphinx(
            folder, ROOT / "docs", site, Path(folder) / ".doctrees", "html", freshenv=True, warningiserror=True,
            status=None,
        )  # fmt: skip
        app.build()
        if app.statuscode:
            return app.statuscode
    if lacking := missing(site):
        print(f"docs: without a docstring, or not reached: {', '.join(lacking)}", file=sys.stderr)
        return 1
    print(f"{site}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"))
