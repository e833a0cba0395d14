# SPDX-License-Identifier: SHL-2.1
"""IP tops that put a hosted core behind a standard bus."""

from .axi import AxiCore
from .wishbone import WishboneCore

__all__ = ["WRAPPERS", "AxiCore", "WishboneCore"]

WRAPPERS = {"axi": AxiCore, "wishbone": WishboneCore}
"""Every wrapper by the name that ``rtlformer generate --wrapper`` knows it by."""
