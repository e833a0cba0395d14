# SPDX-License-Identifier: Apache-2.0
"""``rtlformer doctor``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gen.cli.app import CheckFailed
from gen.cli.common import json_option, show, step
from gen.doctor import examine


@click.command("doctor", short_help="Check the tools.", epilog="\b\nExample:\n  rtlformer doctor")
@json_option
def command(as_json: bool) -> None:
    """Check that every tool is there and works, and say what to install.

    Exit status 1 if something is missing that more than a certain board needs.
    """
    with step("looking for tools") as tell:
        findings = list(examine(tell))
    absent = [finding for finding in findings if not finding.ok]
    bad = [finding for finding in absent if not finding.optional]

    def render(console: Console) -> None:
        table = Table(box=None, pad_edge=False)
        for column in ("", "tool", "found", "needed for"):
            table.add_column(column)
        for finding in findings:
            mark = Text("ok", "green") if finding.ok else "--" if finding.optional else Text("no", "red")
            table.add_row(mark, finding.name, finding.found, finding.needed_for)
        console.print(table)
        for finding in absent:
            name = finding.name if finding.optional else Text(finding.name, "red")
            console.print(name, f"{finding.advice}", sep=": ")

    show({"ok": not bad, "findings": [finding.as_dict() for finding in findings]}, as_json, render)
    if bad:
        names = ", ".join(finding.name for finding in bad)
        raise CheckFailed(f"doctor: not in order: {names}; the advice is above")
