# SPDX-License-Identifier: Apache-2.0
"""What simulators in native code have in common: the functions of their library, and an end."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sim.verilate import BuildFailed

__all__ = ["Native", "declare", "open_library"]


def open_library(path: Path) -> ctypes.CDLL:
    """The shared library at ``path``, which is in the build folder.

    Raises
    ------
    sim.verilate.BuildFailed
        If it cannot be read, or is none of this machine.
    """
    try:
        path.open("rb").close()  # the loader itself says of every failure that there is no such file
        return ctypes.CDLL(str(path))
    except OSError as error:
        reason = error.strerror or str(error).removeprefix(f"{path}: ")
        raise BuildFailed(
            f"{path}: cannot be opened ({reason}); remove {path.parent}, or set RTLFORMER_BUILD to a folder of your own"
        ) from None


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
