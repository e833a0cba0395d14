# SPDX-License-Identifier: Apache-2.0
"""Outputs that appear whole or not at all: folders filled under a temporary name and swapped in, files likewise."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gen.errors import InputError
from gen.files import destination, write_bytes

__all__ = ["check_free", "output_file", "output_folder", "scratch_file", "uninterrupted"]


def check_free(path: Path, *, force: bool, folder: bool = False) -> Path:
    """Refuse to overwrite, before any work is done; returns what would be replaced (:func:`gen.files.destination`).

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is false, its folder does not exist, or it is no regular file (with ``folder``:
        no folder), whatever ``force`` says.
    """
    final = destination(path, folder=folder)
    if os.path.lexists(path) and not force:
        raise InputError(f"{path}: exists already; choose another name or give --force to replace it")
    if not final.parent.is_dir():
        parent = final.parent if path.is_symlink() else path.parent
        raise InputError(f"{path}: its folder does not exist; create {parent} first")
    return final


def output_file(path: str | Path, data: bytes | str, *, force: bool = False) -> None:
    """Write a file in one step.

    Raises
    ------
    InputError
        If it exists and ``force`` is false, or cannot be written; an earlier one stays untouched.
    """
    path = Path(path)
    check_free(path, force=force)
    write_bytes(path, data.encode() if isinstance(data, str) else data)


@contextmanager
def scratch_file(path: Path | None, *, force: bool = False) -> Iterator[Path | None]:
    """A temporary name beside ``path`` for a tool to write, renamed when the block ends well and removed otherwise.

    Without a ``path`` there is none and nothing happens.
    """
    if path is None:
        yield None
        return
    final = check_free(path, force=force)
    work = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        yield work
        with uninterrupted():
            work.replace(final)
    except OSError as error:
        raise _complaint(path, error) from None
    finally:
        with uninterrupted():
            work.unlink(missing_ok=True)


def _complaint(path: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(f"{path}: {reason}; choose another place, or free some space")


@contextmanager
def output_folder(path: str | Path, *, force: bool = False, marker: str = "manifest.json") -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    With ``force`` an earlier folder is replaced, but only one that holds ``marker`` (one of ours) or nothing at all.

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is false, is not ours, or a file cannot be written; what was there stays.
    """
    path = Path(path)
    final = check_free(path, force=force, folder=True)
    if path.exists() and any(path.iterdir()) and not (path / marker).is_file():
        raise InputError(f"{path}: holds no {marker}, so it is not ours to replace; choose another name")
    work = None
    try:
        try:
            with uninterrupted():
                work = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
            work.chmod(0o755)
            yield work
            _settle(work)
            with uninterrupted():
                _swap(work, final)
        finally:
            if work is not None:
                with uninterrupted():
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise _complaint(path, error) from None


def _settle(folder: Path) -> None:
    """Bytes reach the disk before the name does: a power cut leaves the earlier folder, not an empty one."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _swap(work: Path, final: Path) -> None:
    if not final.exists():
        work.rename(final)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
    final.rename(old)  # over the empty folder
    try:
        work.rename(final)
    except BaseException:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back until the block has ended: for the few steps that must not stop half-way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
