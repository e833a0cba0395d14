# SPDX-License-Identifier: Apache-2.0
"""What tests of the command line share: something small to give it, and what became of a folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gen.atomic import output_folder
from gen.emit.manifest import write_design
from gen.jsonfile import SEAL, seal
from gen.jsontext import json_text
from gen.model.randommodel import random_model
from gen.program.compiler import compile_model
from hw.config import CoreConfig, preset
from sim.qmodel import QuantModel

__all__ = [
    "CALIBRATION",
    "DIGITS",
    "ROOT",
    "contents",
    "quantize",
    "reseal",
    "small_model",
    "stand_in",
    "write_stand_in",
]

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
CALIBRATION = str(DIGITS / "calibration.npy")


@cache
def small_model():
    """A whole model, as small as they come."""
    return random_model(hidden=8, heads=1, ffn=8, tokens=4, classes=3)


def stand_in(config: CoreConfig) -> str:
    """Verilog with a core's ports and header and nothing inside: enough for all that reads or writes files."""
    widths = {"seq_len": 12, "s_axis_tdata": 64, "m_axis_tdata": 64, "busy": 8, "frames_done": 32}
    widths |= {"errors": 4, "clear_errors": 4, "load_crc": 32}
    inputs = ("clk", "rst", "run", "seq_len", "s_axis_tdata", "s_axis_tvalid", "m_axis_tready")
    inputs += ("clear_errors", "clear_crc")
    outputs = ("s_axis_tready", "m_axis_tdata", "m_axis_tvalid", "m_axis_tlast", "busy", "frames_done")
    outputs += ("errors", "model_written", "load_crc")
    lines = [f"// Configuration sha256 {config.fingerprint}", f"module rtlformer_core({', '.join(inputs + outputs)});"]
    for names, direction in ((inputs, "input"), (outputs, "output")):
        lines += [f"  {direction} [{widths[n] - 1}:0] {n};" if n in widths else f"  {direction} {n};" for n in names]
    return "\n".join([*lines, "endmodule", ""])


def write_stand_in(folder: Path, model: QuantModel | None = None) -> None:
    """The folder that 'rtlformer generate' makes of the small model, or another, but for what is in its core."""
    config, model = preset("tiny"), model or small_model()
    with output_folder(folder) as work:
        write_design(work, model, compile_model(model, config), stand_in(config))


def reseal(path: Path, facts: dict) -> None:
    """Write ``facts`` under a hash made anew."""
    path.write_text(json_text(seal({name: fact for name, fact in facts.items() if name != SEAL})) + "\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``; a folder counts as a file without contents."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def quantize(checkpoint: Path, output: Path, *more: object, calibration: object = CALIBRATION) -> list[object]:
    """Arguments of ``rtlformer quantize``."""
    return ["quantize", checkpoint, "--calibration", calibration, "-o", output, *more]
