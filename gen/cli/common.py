# SPDX-License-Identifier: Apache-2.0
"""What commands share: options, reading inputs, progress, and reports as text or JSON."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from gen.errors import InputError, brief
from gen.files import read_bytes
from gen.jsonfile import parse_json
from gen.jsontext import json_text
from gen.program.compiler import memory_usage
from gen.schema import describe
from gen.text import one_line
from hw.config import PRESETS, CoreConfig
from hw.memories import MEMORIES
from sim.qmodel import QuantModel

__all__ = [
    "Finite",
    "Tell",
    "config_option",
    "fitted",
    "force_option",
    "json_option",
    "load_config",
    "show",
    "show_markdown",
    "step",
]

Tell = Callable[..., None]

_WIDE = 200  # columns of a table that no terminal limits


class Finite(click.FloatRange):
    """A number in a range, which neither ``nan`` nor ``inf`` is in."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """The number."""
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{number} is not finite", parameter, context)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
force_option = click.option("--force", is_flag=True, help="Replace an output that exists.")
config_option = click.option(
    "--config",
    "config_name",
    required=True,
    metavar="PRESET|FILE",
    help="A preset (see 'rtlformer presets'), or a JSON file of configuration fields, which may start from a preset: "
    '{"preset": "edge", "w_words": 8192}.',
)


def load_config(name: str) -> CoreConfig:
    """A preset by name, or a configuration from a JSON file.

    Raises
    ------
    InputError
        If it is neither, or a field is unknown, missing or breaks its rule.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"{name or '--config'}: no such preset; choose one of {', '.join(PRESETS)}, or give a JSON file"
        )
    data = read_bytes(path)
    try:
        values = parse_json(data)
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({brief(error)}); correct it") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: must hold one JSON object of configuration fields; correct it")
    known = {field.name for field in fields(CoreConfig)}
    base = values.pop("preset", None)
    if unknown := sorted(set(values) - known):
        raise InputError(f"{path}: {brief(unknown[0])} is no configuration field; use {', '.join(sorted(known))}")
    if base is not None and (not isinstance(base, str) or base not in PRESETS):
        raise InputError(f"{path}: no preset {describe(base)}; choose one of {', '.join(PRESETS)}")
    needed = [field.name for field in fields(CoreConfig) if field.default is MISSING]
    if lacking := [name for name in needed if base is None and name not in values]:
        raise InputError(f"{path}: lacks {', '.join(lacking)}; give them, or start from a preset")
    try:
        return replace(PRESETS[base], **values) if base else CoreConfig(**values)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {brief(error)}; correct it") from None


def fitted(model: QuantModel, config: CoreConfig) -> CoreConfig:
    """``config`` with every capacity sized for ``model``, rounded up to what fills a block RAM's depth.

    Raises
    ------
    InputError
        If the model needs something that no capacity can give.
    """
    try:
        config = replace(config, max_tokens=model.max_tokens, max_hidden=max(model.hidden, 1))
        sizes: dict[str, Any] = {}
        for name, (needed, _) in memory_usage(model, config).items():
            memory = MEMORIES[name]
            unit, step = memory.unit(config), memory.fit_step
            if memory.capacity is not None:
                sizes[memory.capacity] = max(-(-needed // unit // step) * step, step)
        return replace(config, **sizes)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        tokens = "max_tokens" in str(error)
        way_out = "quantise with a smaller --max-tokens" if tokens else "use a larger array or a smaller model"
        raise InputError(f"model {model.name}: {error}; {way_out}") from None


class _Console(Console):
    """Prints text as it is given, a line each: no markup, no emoji, no control characters. Colours are for ``Text``."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(one_line(text), **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # for main, which makes nothing of it


def show(result: dict, as_json: bool, render: Callable[[Console], None]) -> None:
    """Print ``result`` as JSON, or let ``render`` print it for people."""
    if as_json:
        print(json_text(result))
    else:
        width = None if sys.stdout.isatty() else _WIDE
        render(_Console(soft_wrap=True, width=width))


def show_markdown(console: Console, text: str) -> None:
    """Laid out on a terminal, as it is elsewhere."""
    lines = [one_line(line) for line in text.splitlines()]
    if console.is_terminal:
        console.print(Markdown("\n".join(lines), hyperlinks=False))
        return
    for line in lines:
        console.print(line)


@contextmanager
def step(what: str) -> Iterator[Tell]:
    """A piece of work that takes a while, shown on standard error; yields ``tell(text, done=, total=)``.

    On a terminal: a spinner or bar that lives; elsewhere one line when the step is over.
    """
    console, what = _Console(stderr=True), one_line(what)
    start = time.monotonic()
    if not console.is_terminal:
        yield lambda *_, **__: None
        print(f"{what}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        return
    about = TextColumn("{task.description}", markup=False)
    note = TextColumn("{task.fields[note]}", style="dim", markup=False)
    spinner = SpinnerColumn("line" if console.options.ascii_only else "dots")
    columns = (spinner, about, BarColumn(bar_width=24), TimeElapsedColumn(), note)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None, note="")

        def tell(text: str = "", *, done: float | None = None, total: float | None = None) -> None:
            progress.update(task, note=one_line(text), completed=done, total=total)

        yield tell
    print(f"{what}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
