# SPDX-License-Identifier: Apache-2.0
"""Outputs that appear whole or not at all: folders filled under a temporary name and swapped in, files likewise."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
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
        if os.path.lexists(parent):
            raise InputError(f"{path}: {parent} is no folder; choose another name")
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


_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of a file that is open: the error names none


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
        with _blamed(path, work):
            yield work
        with _blamed(path), uninterrupted():
            work.replace(final)
    finally:
        with uninterrupted():
            work.unlink(missing_ok=True)


@contextmanager
def _blamed(path: Path, work: Path | None = None) -> Iterator[None]:
    """Errors of the system inside are failures to write ``path``; of those around ``work``, only the ones about it.

    Who fills ``work`` does other things too, and what fails there is not the output's fault.
    """
    try:
        yield
    except OSError as error:
        named = "" if error.filename is None else os.fsdecode(error.filename)
        if work is not None and not (named.startswith(str(work)) if named else error.errno in _WRITING):
            raise
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: {reason}; choose another place, or free some space") from None


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
    work = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    try:
        with _blamed(path):
            work.mkdir()
        with _blamed(path, work):
            yield work
        with _blamed(path):
            _settle(work)
            with uninterrupted():
                _swap(work, final)
    finally:
        with uninterrupted():
            shutil.rmtree(work, ignore_errors=True)


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
    old = work.with_suffix(".old")
    final.rename(old)
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
