# SPDX-License-Identifier: Apache-2.0
"""The group of commands, each loaded when it is called, and what their errors turn into."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import sys
import tempfile
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click

from gen.atomic import uninterrupted
from gen.errors import InputError
from gen.text import one_line
from gen.tools import ToolFailed

__all__ = ["CheckFailed", "cli", "run"]

_SPACE = 1 << 20  # bytes free, below which a disk counts as full

COMMANDS = {
    "doctor": "Check that every tool is there, and say what to install.",
    "presets": "List the presets of cores.",
    "quantize": "Turn a trained checkpoint into an int8 model.",
    "estimate": "Predict cycles, buffers and size before anything is built.",
    "generate": "Write an accelerator: Verilog, program, images, manifest.",
    "simulate": "Run inputs through the generated Verilog.",
    "verify": "Prove that golden, Verilog, netlist and board agree.",
    "synth": "Synthesise for an FPGA, and place and route.",
    "run": "Run inputs on a board, or on a simulated one.",
    "board-sim": "Simulate a whole board behind a pseudo-terminal.",
    "bench": "Measure the standard workloads.",
    "demo": "Generate the digits accelerator and let it read digits.",
}


class CheckFailed(RuntimeError):
    """A comparison or a requirement that was asked for does not hold."""


GROUP = "rtlformer.commands"
"""Entry points of commands that this package does not know, those of ``boards`` among them."""


@cache
def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


class _Notes(logging.Handler):
    """What the packages below log is said on standard error, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        print(one_line(record.getMessage()), file=sys.stderr, flush=True)


_LOG = logging.getLogger("rtlformer")
_LOG.setLevel(logging.INFO)
_LOG.addHandler(_Notes())


class _Group(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS, *_found()]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        with uninterrupted():
            if name in COMMANDS:
                return importlib.import_module(f"gen.cli.{name.replace('-', '_')}").command
            return _found()[name].load() if name in _found() else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = list(COMMANDS.items())
        found = ((name, self.get_command(context, name)) for name in _found())
        rows += [(name, command.get_short_help_str(80)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nStart with:\n  rtlformer doctor\n  rtlformer demo\nEvery command has --help with an example.",
)
@click.version_option(package_name="rtlformer", prog_name="rtlformer")
def cli() -> None:
    """From a trained transformer encoder to integer-only Verilog that runs it, proved bit-exact in simulation."""


def run(arguments: list[str]) -> int:
    """Run ``arguments`` and return the exit status."""
    from hw.programs import ToolMissing
    from sim.fast import Deadlock, Timeout
    from sim.verilate import BuildFailed

    try:
        context = cli.make_context("rtlformer", arguments)
        with context:
            cli.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as leave:
        sys.stdout.flush()
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as error:  # no command given: the list of them is the way out
        print(error.ctx.get_help(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        return _complain(_usage(error), 2)
    except (InputError, ToolMissing) as error:
        return _complain(str(error), 2)
    except (ToolFailed, BuildFailed) as error:
        full = _full_disk()
        if full is not None:
            return _complain(f"{full}: no space left, so that a tool failed ({str(error)[:200]}); free some space", 2)
        return _complain(str(error), 1)
    except (CheckFailed, Deadlock, Timeout) as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = error.filename or "file system"
        return _complain(f"{where}: {error.strerror or error}; check the path, its permissions and the space left", 2)
    except MemoryError:
        return _complain("memory: not enough of it; close other programs or take a smaller model", 2)
    except Exception as error:  # ours to put right, not the user's; RTLFORMER_DEBUG shows where
        if os.environ.get("RTLFORMER_DEBUG"):
            raise
        return _complain(
            f"internal error: {type(error).__name__}: {error}; run again with RTLFORMER_DEBUG=1 and report it", 1
        )


def _full_disk() -> str | None:
    """A place that tools write to and that is full: they seldom say so themselves."""
    from sim.verilate import build_root

    for place in (Path.cwd(), Path(tempfile.gettempdir()), build_root()):
        if place.exists() and shutil.disk_usage(place).free < _SPACE:
            return str(place)
    return None


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".").replace("\n", " ")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "rtlformer"
    return f"{message}; see '{command} --help'"


def _complain(message: str, status: int) -> int:
    sys.stdout.flush()
    print(f"rtlformer: {one_line(message).strip()}", file=sys.stderr)
    return status
