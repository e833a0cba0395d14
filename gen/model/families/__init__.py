# SPDX-License-Identifier: Apache-2.0
"""Readers of model families, a file each; every file in this folder registers its own."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
