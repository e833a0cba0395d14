# SPDX-License-Identifier: Apache-2.0
"""What simulators in native code have in common: the functions of their library, and an end."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Self

__all__ = ["Native", "declare"]


def declare(library: ctypes.CDLL, prefix: str, functions: Mapping[str, tuple[Any, Sequence[Any]]]) -> ctypes.CDLL:
    """``library`` with result and further arguments set of each ``prefix_name``.

    ``create`` gives a handle; every other function takes one first.
    """
    for name, (result, arguments) in functions.items():
        function = getattr(library, f"{prefix}_{name}")
        function.restype = result
        function.argtypes = arguments if name == "create" else [ctypes.c_void_p, *arguments]
    return library


class Native:
    """Something that native code keeps until :meth:`close`, which may be called again and at any time."""

    def close(self) -> None:
        """End it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
