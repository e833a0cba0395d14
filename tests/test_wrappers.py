# SPDX-License-Identifier: Apache-2.0
"""The IP tops, as generated for the digits model: whole images through each bus."""

import re

import numpy as np
import pytest

from gen.cli.app import run
from gen.cli.common import fitted
from gen.cycles.predict import predict
from gen.emit.manifest import open_design, write_design
from gen.emit.portmap import wrapper_registers
from gen.emit.verilog import emit_core, emit_wrapper, model_hash
from gen.errors import InputError
from gen.model.checkpoint import read_checkpoint
from gen.model.modelfile import save_model
from gen.model.quantize import integer_inputs, quantise
from gen.model.randommodel import random_model
from gen.program.compiler import compile_model
from hw.config import preset
from hw.host.registers import facts, reset_value
from hw.wrappers import WRAPPERS
from sim.reference import forward
from sim.runner import run_cocotb
from sim.verilate import lint
from tests.commandline import DIGITS, stand_in

IMAGES = {"axi": 3, "wishbone": 5}


@pytest.fixture(scope="module")
def digits():
    checkpoint = read_checkpoint(DIGITS / "checkpoint")
    model = quantise(checkpoint, np.load(DIGITS / "calibration.npy"))
    return model, integer_inputs(checkpoint, model, np.load(DIGITS / "test_images.npy")[:5])


@pytest.fixture(scope="module")
def core(digits):
    image = compile_model(digits[0], preset("edge"))
    return image, emit_core(image.config, image.memories)


# What needs no result: these run on a core with nothing inside.
WITHOUT_A_CORE = {
    "axi": ["registers", "illegal_accesses", "raw_accesses"],
    "wishbone": ["registers", "illegal_accesses", "an_aborted_cycle_has_no_answer"],
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_accesses(kind):
    """Every register, illegal accesses and aborted ones."""
    config, loaded = preset("tiny"), 0x0123456789ABCDEF
    known, verilog = facts(config, loaded), stand_in(config) + emit_wrapper(config, kind, model_hash=loaded)
    for case in WITHOUT_A_CORE[kind]:
        run_cocotb(
            verilog,
            f"sim.tb.tb_{kind}",
            top=WRAPPERS[kind].TOP,
            testcase=case,
            reset_values={reg.name: reset_value(reg, known) for reg in wrapper_registers(kind)},
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRAPPERS)
def test_whole_images(kind, digits, core, tmp_path):
    """Registers, illegal accesses, and every logit of whole images under random back-pressure, against golden."""
    (model, inputs), (image, verilog) = digits, core
    inputs, tokens, loaded = inputs[: IMAGES[kind]], image.max_tokens, model_hash(image.memories)
    work, results = tmp_path / "work.npz", tmp_path / "results.npy"
    np.savez(
        work,
        tokens=tokens,
        words=image.output_words(tokens),
        macs=predict(image, tokens).busy["macs"],
        packets=np.stack([image.input_packet(x) for x in inputs]),
    )
    known = facts(image.config, loaded, image.load_crc)
    run_cocotb(
        verilog + emit_wrapper(image.config, kind, model_hash=loaded),
        f"sim.tb.tb_{kind}",
        top=WRAPPERS[kind].TOP,
        work=str(work),
        results=str(results),
        reset_values={reg.name: reset_value(reg, known) for reg in wrapper_registers(kind)},
    )
    for x, words in zip(inputs, np.load(results), strict=True):
        assert (image.decode_output(words, tokens) == forward(model, x)["output"]).all()


@pytest.fixture(scope="module")
def small():
    """A small model, compiled, and its core."""
    model = random_model(hidden=8, heads=2, ffn=16, tokens=6, classes=3, pixels=4)
    image = compile_model(model, fitted(model, preset("tiny")))
    return model, image, emit_core(image.config, image.memories)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_the_folder_has_what_a_system_needs(kind, small, tmp_path):
    (model, image, core), top = small, WRAPPERS[kind].TOP
    loaded = model_hash(image.memories)
    write_design(tmp_path, model, image, core, wrapper=kind)
    design = open_design(tmp_path)
    files = {name: (tmp_path / name).read_text(encoding="utf-8") for name in design.manifest["files"]
             if not name.endswith(".safetensors")}  # fmt: skip
    assert {"core.v", "core.vlt", f"{top}.v", "rtlformer.h", "registers.md", "rtlformer.core"} <= files.keys()
    # What simulate, synth and the like work on is the core itself, whatever it is wrapped in.
    assert design.verilog == core

    head = files[f"{top}.v"].split("module", 1)[0]
    assert head.startswith("// SPDX-License-Identifier: SHL-2.1\n")
    assert design.config.fingerprint in head and f"{loaded:016x}" in head
    waivers = files["core.vlt"].replace("`verilator_config\n", "")
    assert lint(files["core.v"] + files[f"{top}.v"], top=top, control=waivers) == []

    assert design.manifest["model_hash"] == f"{loaded:016x}"  # which a board and its driver tell it by, too
    assert design.manifest["load_crc"] == f"{image.load_crc:08x}"
    assert f"#define RTLFORMER_LOAD_CRC_RESET_VALUE {image.load_crc:#x}u" in files["rtlformer.h"]
    assert f"#define RTLFORMER_MODEL_HASH {loaded:#018x}ull" in files["rtlformer.h"]
    assert f"#define RTLFORMER_INPUT_WORDS {image.input_words(6):#x}u" in files["rtlformer.h"]
    facts_of, known = design.manifest["wrapper"], facts(design.config, loaded, image.load_crc)
    assert (facts_of["kind"], facts_of["top"]) == (kind, top)
    assert [port["name"] for port in facts_of["ports"]] == list(WRAPPERS[kind].PORTS)
    assert {reg["name"]: (reg["offset"], reg["reset"]) for reg in facts_of["registers"]} == {
        reg.name: (reg.offset, reset_value(reg, known)) for reg in wrapper_registers(kind)
    }
    assert all(f"| {name} |" in files["interface.md"] for name in WRAPPERS[kind].PORTS)
    description = files["rtlformer.core"]
    assert description.startswith("CAPI=2:\n") and description.count(f"toplevel : {top}\n") == 2
    assert set(re.findall(r"- (\S+) :", description)) == {"core.v", f"{top}.v", "core.vlt", "rtlformer.h"}

    with (tmp_path / "rtlformer.h").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=r"rtlformer\.h: truncated or altered"):
        open_design(tmp_path)


def test_without_wrapper_there_are_no_registers(small, tmp_path):
    manifest = write_design(tmp_path, *small)
    assert "wrapper" not in manifest
    assert not {"rtlformer.h", "registers.md"} & set(manifest["files"])
    assert "toplevel : rtlformer_core\n" in (tmp_path / "rtlformer.core").read_text()


def test_generate_takes_a_wrapper(small, tmp_path, capsys):
    save_model(small[0], tmp_path / "m")
    arguments = ["generate", "--config", "tiny", "--model", str(tmp_path / "m"), "--fit", "-o", str(tmp_path / "d")]
    assert run([*arguments, "--wrapper", "avalon"]) == 2
    assert "'avalon' is not one of 'none', 'axi', 'wishbone'" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
    assert run([*arguments, "--wrapper", "wishbone"]) == 0
    assert "core.v and rtlformer_wishbone.v" in capsys.readouterr().out
    assert open_design(tmp_path / "d").manifest["wrapper"]["kind"] == "wishbone"
