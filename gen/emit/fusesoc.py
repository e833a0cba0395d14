# SPDX-License-Identifier: Apache-2.0
"""The FuseSoC description (CAPI2) of a generated accelerator."""

from __future__ import annotations

from collections.abc import Sequence

from gen.emit.verilog import tool_version

__all__ = ["CORE_FILE", "core_description"]

CORE_FILE = "rtlformer.core"
"""Name of the file."""


def core_description(
    *, top: str, verilog: Sequence[str], waivers: str, headers: Sequence[str] = (), description: str
) -> str:
    """A ``.core`` file with targets ``default`` (the sources, for whoever depends on it) and ``lint`` (Verilator).

    Parameters
    ----------
    top : str
        The top module, which also names the core: ``::top:version``.
    verilog, headers : sequence of str
        Files, as named in the folder that the description is put into.
    waivers : str
        Verilator control file.
    """

    def files(names: Sequence[str], kind: str) -> list[str]:
        return ["    files:", *(f"      - {name} : {{file_type : {kind}}}" for name in names)]

    lines = [
        "CAPI=2:",
        "# SPDX-License-Identifier: Apache-2.0",
        f"name : ::{top}:{tool_version()}",
        f'description : "{description}"',
        "",
        "filesets:",
        "  rtl:",
        *files(verilog, "verilogSource"),
        "  waivers:",
        *files([waivers], "vlt"),
    ]
    if headers:
        lines += ["  software:", *files(headers, "user")]
    lines += [
        "",
        "targets:",
        "  default:",
        f"    filesets : [rtl{', software' if headers else ''}]",
        f"    toplevel : {top}",
        "  lint:",
        "    flow : lint",
        "    flow_options :",
        "      tool : verilator",
        "      verilator_options : [-Wall]",
        "    filesets : [waivers, rtl]",
        f"    toplevel : {top}",
    ]
    return "\n".join([*lines, ""])
