# SPDX-License-Identifier: SHL-2.1
"""Programs that come with Python packages: where they are, and what to do about one that does not start."""

import os
import re
import shutil
import sys
from pathlib import Path

__all__ = ["ToolFailed", "ToolMissing", "crash_at_start", "find", "no_start"]

_CRASH = re.compile(r"(\w+\.)*(ModuleNotFoundError|ImportError|\w*Error: \[Errno \d+\])")


class ToolMissing(RuntimeError):
    """A program is not installed or does not start. The message names it and the way out."""


class ToolFailed(RuntimeError):
    """A program stopped with an error or without its whole result."""


def find(tool: str) -> str:
    """The program ``tool``, beside the running Python or on ``PATH``.

    Raises
    ------
    ToolMissing
        If it is not installed.
    """
    beside = shutil.which(tool, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(tool)
    if found is None:
        raise ToolMissing(f"{tool}: not installed; run 'make setup' (it comes from requirements.lock)")
    return found


def no_start(tool: str, program: str, error: OSError, *, advice: str = "run 'make setup' again") -> ToolMissing:
    """For a ``program`` that the system refused to start."""
    reason = error.strerror or type(error).__name__
    if isinstance(error, FileNotFoundError) and os.access(program, os.R_OK):
        with Path(program).open("rb") as script:
            first = script.readline(200).strip()
        if first.startswith(b"#!"):  # the file is there, so what is not is the interpreter that it names
            reason = f"{first[2:].decode(errors='replace').strip()}, which its first line names, is not there"
    return ToolMissing(f"{tool}: does not start ({reason}); {advice}")


def crash_at_start(tool: str, said: str) -> ToolMissing | None:
    """For a program in Python that ``said`` a traceback which is about where it runs, not about what it was given."""
    _, found, traceback = said.rpartition("Traceback (most recent call last):")
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    if not found or not lines or not _CRASH.match(lines[-1]):
        return None
    advice = "run 'make setup' again"
    if "cache_filename" in traceback or "YoWASP" in lines[-1]:  # where the WebAssembly runtime keeps compiled tools
        advice = "set YOWASP_CACHE_DIR to a folder that can be written, or free some space"
    elif "tempfile" in traceback:
        advice = "set TMPDIR to a folder that can be written, or free some space"
    return ToolMissing(f"{tool}: does not start ({lines[-1]}); {advice}")
