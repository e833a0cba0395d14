# SPDX-License-Identifier: Apache-2.0
"""Reading and atomically writing whole files, with errors a user can act on."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from gen.errors import InputError

__all__ = ["check_files", "destination", "read_bytes", "write_bytes"]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


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


def destination(path: str | Path, *, folder: bool = False) -> Path:
    """What writing ``path`` replaces: behind a symbolic link, what that names, which may not be there yet.

    Raises
    ------
    InputError
        If something else than a regular file is there (with ``folder``: than a folder), or links lead nowhere. A rename
        would put a file in the place of a device.
    """
    try:
        there = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Path(os.path.realpath(path))
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}; choose another name") from None
    if stat.S_ISREG(there) and folder:
        raise InputError(f"{path}: is a file, not a folder; choose another name")
    if not (stat.S_ISDIR(there) if folder else stat.S_ISREG(there)):
        raise InputError(f"{path}: is {_KINDS.get(stat.S_IFMT(there), 'no regular file')}; choose another name")
    return Path(os.path.realpath(path))


def check_files(folder: Path, hashes: Mapping[str, str], way_out: str) -> None:
    """Check files of ``folder`` against their SHA-256.

    Raises
    ------
    InputError
        If one is missing, altered, or a link out of the folder; the message ends with ``way_out``.
    """
    for name, digest in hashes.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; {way_out}")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: leads out of the folder; {way_out}")
        if sha256(read_bytes(path)).hexdigest() != digest:
            raise InputError(f"{path}: truncated or altered since it was made; {way_out}")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path`` and rename: an interrupted run leaves the earlier file.

    A symbolic link stays, and the file that it names is replaced.

    Raises
    ------
    InputError
        If it cannot be written (no such folder, no permission, disk full, no regular file); nothing is left behind.
    """
    final = destination(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}; choose another place, or free some space") from None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
