# SPDX-License-Identifier: Apache-2.0
"""One declaration of the registers: what it rules out, and that C header and documents say the same as it does.

That the gateware does too is read through every bus: tests/test_control.py, tests/test_wrappers.py.
"""

import re
import shutil
import subprocess
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gen.emit.cheader import c_header
from gen.emit.regdoc import markdown
from hw.config import PRESETS, CoreConfig, preset
from hw.host.bus import ADDRESS_BITS
from hw.host.registers import (
    REGISTERS,
    STREAM_BASE,
    STREAM_REGISTERS,
    VERSION,
    config_of,
    facts,
    hash64,
    register,
    reset_value,
)

ROOT = Path(__file__).resolve().parents[1]
ALL = (*REGISTERS, *STREAM_REGISTERS)
MODEL = 0xFEDCBA9876543210
LARGEST = CoreConfig(rows=16, cols=64, depth=64, drain_columns=4, slots=8, max_tokens=1024, max_hidden=1024,
                     exp="ibert", gelu="ibert", tables=64, w_words=1 << 18, act_words=1 << 18, kv_words=1 << 18,
                     res_words=1 << 18, chan_words=1 << 18, norm_words=1 << 18, head_words=1 << 12,
                     prog_words=1 << 12)  # fmt: skip


def test_offsets_follow_one_another_and_fields_do_not_overlap():
    assert [reg.offset for reg in REGISTERS] == list(range(0, 4 * len(REGISTERS), 4))
    assert [reg.offset for reg in STREAM_REGISTERS] == [STREAM_BASE + 4 * i for i in range(len(STREAM_REGISTERS))]
    assert REGISTERS[-1].offset < STREAM_BASE and STREAM_REGISTERS[-1].index < 1 << ADDRESS_BITS
    assert len({reg.name for reg in ALL}) == len(ALL)
    for reg in ALL:
        covered = 0
        for field in reg.fields:
            assert field.mask < 1 << 32 and not covered & field.mask, f"{reg.name}.{field.name}"
            covered |= field.mask
        assert register(reg.name) is reg and reg.doc


def test_the_version_register_tells_the_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ".".join(map(str, VERSION)) == project["version"]


@pytest.mark.parametrize("config", [*PRESETS.values(), LARGEST], ids=[*PRESETS, "largest"])
def test_a_core_tells_its_whole_configuration(config):
    known = facts(config, MODEL)
    for reg in REGISTERS:
        for field in reg.fields:
            value = known[field.reset] if isinstance(field.reset, str) else field.reset
            assert 0 <= value < 1 << field.width, f"{reg.name}.{field.name}"
    values = {reg.name: reset_value(reg, known) for reg in REGISTERS}
    assert config_of(values.__getitem__) == config
    assert values["MODEL_HASH_HI"] << 32 | values["MODEL_HASH_LO"] == MODEL
    assert f"{values['CONFIG_HASH_HI']:08x}{values['CONFIG_HASH_LO']:08x}" == config.fingerprint[:16]


def test_what_is_no_core_is_refused():
    values = {reg.name: reset_value(reg, facts(preset("edge"))) for reg in REGISTERS}
    with pytest.raises(ValueError, match="CONFIG_HASH must be [0-9a-f]{16} for these values, not [0-9a-f]{16}"):
        config_of((values | {"W_WORDS": values["W_WORDS"] + 1}).__getitem__)
    with pytest.raises(ValueError, match="Registers must describe a core, not rows 0"):
        config_of(lambda name: 0)
    with pytest.raises(ValueError, match="slots must be a positive integer, not 0"):
        config_of((values | {"KERNELS": 0}).__getitem__)
    with pytest.raises(KeyError, match="there is no register 'NONE'"):
        register("NONE")
    with pytest.raises(KeyError, match="CONTROL has no field 'none'"):
        register("CONTROL")["none"]


@pytest.mark.parametrize("standard", ["c99", "c++11"])
def test_the_c_header_compiles_and_has_the_declared_values(standard, tmp_path):
    """Every macro of the header, printed by a C program; none is missing and none is more."""
    config = replace(preset("edge"), max_tokens=17)
    sizes = {"TOKENS": 17, "INPUT_WORDS": 21}
    text = c_header(config, model_hash=MODEL, registers=ALL, more=sizes)
    (tmp_path / "rtlformer.h").write_text(text)
    known = facts(config, MODEL)
    expected = {"CONFIG_HASH": hash64(config.fingerprint), "MODEL_HASH": MODEL, **sizes}
    for reg in ALL:
        expected |= {f"{reg.name}_OFFSET": reg.offset, f"{reg.name}_RESET_VALUE": reset_value(reg, known)}
        for field in reg.fields:
            if len(reg.fields) > 1 or field.width < 32:
                expected[f"{reg.name}_{field.name.upper()}_MASK"] = sum(
                    1 << bit for bit in range(field.lsb, field.lsb + field.width)
                )
                expected[f"{reg.name}_{field.name.upper()}_SHIFT"] = field.lsb
    macros = re.findall(r"^#define RTLFORMER_(\w+) ", text, re.MULTILINE)
    assert sorted(macros) == sorted(expected)
    prints = "".join(f'  printf("{name} %llu\\n", (unsigned long long)RTLFORMER_{name});\n' for name in macros)
    (tmp_path / "program.c").write_text(
        '#include <stdio.h>\n#include "rtlformer.h"\n#include "rtlformer.h"\n'
        "#if RTLFORMER_ID_OFFSET != 0 || RTLFORMER_STATUS_IDLE_MASK != 256\n#error unreadable here\n#endif\n"
        f"int main(void) {{\n{prints}"
        '  printf("GET %u\\n", RTLFORMER_GET(0x5Au << 16, ARRAY_DEPTH));\n'
        '  printf("PUT %u\\n", RTLFORMER_PUT(LIMITS_MAX_HIDDEN, 0x71234u));\n'
        "  return 0;\n}\n"
    )
    compiler, language = (shutil.which(name) for name in ("cc", "c++")), "c++" if "+" in standard else "c"
    compiler = list(compiler)[language == "c++"]
    flags = [f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-long-long"]
    program = tmp_path / "program"
    command = [compiler, *flags, "-x", language, str(tmp_path / "program.c"), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {name: int(value) for name, value in map(str.split, lines)}
    assert (found.pop("GET"), found.pop("PUT")) == (0x5A, 0x1234 << 16)
    assert found == expected


def test_the_reference_is_current():
    page = ROOT / "docs" / "registers.md"
    assert page.read_text(encoding="utf-8") == markdown(), "renew it: python -m gen.emit.regdoc > docs/registers.md"


@pytest.mark.parametrize("wrapper", ["axi", "wishbone"])
def test_the_documents_have_every_register_and_field(wrapper):
    """The tables of the general page, and of a core's own with its own values."""
    config = preset("edge")
    known = facts(config, MODEL)
    registers = ALL if wrapper == "wishbone" else REGISTERS
    for page, values, present in (
        (markdown(), None, ALL),
        (markdown(config, model_hash=MODEL, wrapper=wrapper), known, registers),
    ):
        rows = {row[1]: row for row in (re.findall(r"(?<=\| )[^|]*(?= \|)", line) for line in page.splitlines())
                if len(row) == 5}  # fmt: skip
        named = {name for name, row in rows.items() if row[0].startswith("0x")}
        assert named == {reg.name for reg in present}
        for reg in present:
            offset, _, access, after_reset, doc = rows[reg.name]
            assert (int(offset, 16), access, doc) == (reg.offset, reg.access, reg.doc)
            if values is not None:
                assert int(after_reset, 16) == reset_value(reg, values)
            section = page.partition(f"### {reg.name}\n")[2].partition("###")[0]
            for field in reg.fields:
                if field.width < 32:
                    high = field.lsb + field.width - 1
                    bits = f"{high}:{field.lsb}" if field.width > 1 else f"{high}"
                    assert f"| {bits} | {field.name} | {field.access} |" in section, f"{reg.name}.{field.name}"


def test_every_fact_is_told():
    told = {field.reset for reg in REGISTERS for field in reg.fields if isinstance(field.reset, str)}
    assert told == set(facts(preset("edge")))
    assert set(asdict(preset("edge"))) - {"drain_columns"} <= told | {"tables"}  # drain_columns = lanes / rows
