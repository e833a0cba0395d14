# SPDX-License-Identifier: Apache-2.0
"""Reading and atomically writing whole files, with errors a user can act on."""

from __future__ import annotations

import os
from pathlib import Path

from gen.errors import InputError


def read_bytes(path: str | Path) -> bytes:
    """The whole file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}; check the path and its permissions") from None


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path`` and rename: an interrupted run leaves the earlier file.

    Raises
    ------
    InputError
        If it cannot be written (no such folder, no permission, disk full); nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}; choose another place, or free some space") from None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
