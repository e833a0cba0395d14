# SPDX-License-Identifier: Apache-2.0
"""Readers of model families, a file each; every file in this folder registers its own."""

from importlib import import_module
from pkgutil import iter_modules


def discover() -> None:
    """Import every reader in the folder."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


discover()
