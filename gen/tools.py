# SPDX-License-Identifier: Apache-2.0
"""Finds and runs the external tools: one log file each, and they stop when we do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gen.errors import InputError
from gen.files import write_bytes
from gen.webassembly import announce
from hw.programs import ToolFailed, ToolMissing, crash_at_start, no_start
from hw.programs import find as program

__all__ = ["Job", "ToolFailed", "find", "keep_logs", "run", "run_all"]

_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a tool in ``folder``, which logs to ``log`` there; what it prints goes to ``output``.

    Paths among ``arguments`` must be relative to ``folder``: the WebAssembly tools see a private ``/tmp``. A tool that
    writes its log by itself needs two names, for another only ``log`` is given.
    """

    tool: str
    arguments: Sequence[str]
    folder: Path
    log: str
    output: str = ""


def find(tool: str) -> str:
    """The program ``tool``, beside the running Python or on ``PATH``.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return program(tool)
    except ToolMissing as error:
        raise InputError(str(error)) from None


def run(job: Job, progress: Callable[[str], None] | None = None) -> None:
    """Runs one job; see :func:`run_all`."""
    run_all([job], progress=progress)


def run_all(
    jobs: Sequence[Job],
    *,
    parallel: int = 1,
    progress: Callable[[str], None] | None = None,
    hopeless: Callable[[Job, float], bool] | None = None,
) -> list[Job]:
    """Runs every job, ``parallel`` at a time; ``progress`` is told the newest line of a log now and then.

    ``hopeless`` is asked about a job that has run for so many seconds: one of which it says so is ended, and returned.
    Whatever ends everything early (an error, Ctrl-C) also ends the tools that still run.

    Raises
    ------
    InputError
        If a tool is not installed or does not start.
    ToolFailed
        If one ends with another status than 0; shows the last line of its log and where the rest is.
    """
    programs = [find(job.tool) for job in jobs]
    waiting = list(zip(jobs, programs, strict=True))[::-1]
    running: list[tuple[Job, subprocess.Popen, float]] = []
    given_up = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                job, program = waiting.pop()
                running.append((job, _start(job, program), time.monotonic()))
            time.sleep(_POLL_S)
            for job, process, start in running:
                if process.poll() is None and hopeless and hopeless(job, time.monotonic() - start):
                    process.kill()
                    process.wait()
                    given_up.append(job)
                elif process.returncode:
                    if crash := crash_at_start(job.tool, _end(job)):
                        raise InputError(str(crash))
                    raise ToolFailed(f"{job.tool}: stopped with status {process.returncode} ({_last_line(job)})")
                if progress:
                    progress(_last_line(job))
            running = [entry for entry in running if entry[1].returncode is None]
    finally:
        for _, process, _ in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    return given_up


def _start(job: Job, program: str) -> subprocess.Popen:
    announce(job.tool)
    with (job.folder / (job.output or job.log)).open("wb") as log:
        command = [program, *job.arguments]
        try:
            return subprocess.Popen(
                command, cwd=job.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise InputError(str(no_start(job.tool, program, error))) from None


def _end(job: Job) -> str:
    """The end of what it said."""
    said = []
    for name in filter(None, (job.output, job.log)):
        if (job.folder / name).exists():
            with (job.folder / name).open("rb") as log:
                log.seek(0, 2)
                log.seek(max(0, log.tell() - 4000))
                said.append(log.read().decode(errors="replace"))
    return "\n".join(said)


def _last_line(job: Job) -> str:
    """The last line of a log that says something, an error before anything else."""
    lines = [line.strip() for line in _end(job).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1][:200]


def keep_logs(folder: Path, output: Path) -> Path:
    """What the tools said in ``folder``, in one file beside the ``output`` that did not come to be."""
    target = output.with_name(f"{output.name}.failed.log")
    logs = sorted(folder.glob("*.log"))
    write_bytes(target, b"".join(f"==== {log.name}\n".encode() + log.read_bytes() for log in logs))
    return target
