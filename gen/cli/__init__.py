# SPDX-License-Identifier: Apache-2.0
"""The command line ``rtlformer``; one file a command.

Exit status: 0, 1 (a check or a tool failed), 2 (bad input), 130 (Ctrl-C). Whatever goes wrong is said in one line on
standard error: the thing, the reason, the way out.
"""

from __future__ import annotations

import _thread
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence

from gen.atomic import uninterrupted
from gen.text import one_line

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` unless given) and return its exit status."""
    try:
        sys.stdout = sys.stdout or open(os.devnull, "w")  # closed by who started us: then nobody wants to read it
        sys.stderr = sys.stderr or open(os.devnull, "w")
        for stream in (sys.stdout, sys.stderr):  # what their encoding lacks is escaped
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with uninterrupted():  # libraries may swallow a Ctrl-C while they are imported
            sys.unraisablehook = _unraisable
            signal.signal(signal.SIGTERM, _terminate)
            from gen.cli.app import run
        status = run(sys.argv[1:] if arguments is None else list(arguments))
        if arguments is None:  # the work is done and the program ends: too late to interrupt it
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return status
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only spoil the message,
        warnings.simplefilter("ignore")  # as would what libraries say of work left undone
        left = one_line(str(interrupt)) or "earlier outputs are as they were"
        print(f"rtlformer: interrupted; {left}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _terminate(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """A Ctrl-C that struck inside a destructor or callback is sent again instead of being printed and lost."""
    if issubclass(what.exc_type, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(what)
