# SPDX-License-Identifier: Apache-2.0
"""Thousands of damaged files, seeded: each is refused in one line that names it, or means what it meant before.

A hash that is stale shows any change. Where it is made anew for the changed content, what is left to see is whether
that content can be: of the right types and shapes, in range, and in agreement with everything else that says the same.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from boards.board import BOARDS
from gen import jsonfile
from gen.cli.app import run
from gen.cli.common import load_config
from gen.cli.data import load_array
from gen.emit.built import open_built
from gen.emit.manifest import MANIFEST, open_design, write_design
from gen.errors import InputError
from gen.jsonfile import SEAL, canonical
from gen.model import modelfile
from gen.model.checkpoint import read_checkpoint
from gen.model.modelfile import content_hash, load_model, save_model
from gen.model.randommodel import random_checkpoint, random_model, random_rows
from gen.program.compiler import compile_model
from hw.config import preset
from sim.reference import forward
from tests.built_folder import write_build
from tests.commandline import CALIBRATION, DIGITS, small_model, stand_in, write_stand_in
from tests.mutations import damaged_bytes, json_text, mutate

CASES = 2000
"""Of each kind of file."""


def outcome(read: Callable[[], Any], name: str) -> Any:
    """What ``read`` returns, or None if it refuses properly: in one line that names the file and the way out."""
    try:
        return read()
    except InputError as error:
        message = str(error)
        assert "\n" not in message and name in message and "; " in message and len(message) < 1000, message
        return None


@pytest.fixture
def refused(capsys: pytest.CaptureFixture) -> Callable:
    """Checks that a command line is refused properly, for one in a hundred cases."""
    cases = 0

    def check(*arguments: object) -> None:
        nonlocal cases
        cases += 1
        if cases % 100 == 1:
            assert run([str(argument) for argument in arguments]) == 2
            captured = capsys.readouterr()
            lines = [line for line in captured.err.splitlines() if line.startswith("rtlformer: ")]
            assert len(lines) == 1 and captured.err.splitlines()[-1] == lines[0], captured.err
            assert "Traceback" not in captured.err and "internal" not in captured.err and not captured.out

    yield check
    assert cases > 100


# --- model files

MODELS = [
    {"norm": "pre", "hidden": 8, "heads": 2, "ffn": 12, "tokens": 4, "pixels": 3, "classes": 3},
    {"norm": "post", "hidden": 8, "heads": 2, "ffn": 8, "tokens": 3, "classes": 2, "pooler": True},
    {"norm": "post", "hidden": 6, "heads": 3, "ffn": 10, "tokens": 4, "layers": 2, "exp": "ibert", "gelu": "ibert"},
    {"layers": 0, "hidden": 8, "heads": 2, "tokens": 4},
]


def write_model(path: Path, structure: Any, tensors: dict, digest: str) -> None:
    header = {"format": modelfile.FORMAT, "model": structure, "sha256": digest}
    path.write_bytes(safetensors.numpy.save(tensors, {modelfile.KEY: json_text(header)}))


def new_digest(structure: Any, tensors: dict, otherwise: str) -> str:
    """The hash that makes a changed model whole again, as far as there is one."""
    try:
        return modelfile._digest(json.loads(json_text(structure)), tensors)
    except (ValueError, RecursionError):
        return otherwise


def other_tensor(array: np.ndarray, random: Random) -> np.ndarray:
    """One with another type, shape or range."""
    info = np.iinfo(array.dtype)
    place = tuple(random.randrange(size) for size in array.shape)
    match random.randrange(8):
        case 0:
            return array.astype(random.choice([np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32, bool]))
        case 1:
            return array[:-1]
        case 2:
            return np.concatenate([array, array[-1:]])
        case 3:
            return random.choice([array.T, array[None], array.reshape(-1), array[..., None], array[..., :0]])
        case 4 | 5:
            changed = array.copy()
            changed[place] = random.choice([info.min, info.max, 0, 1])
            return changed
        case _:
            return np.full_like(array, random.choice([info.min, info.max, 0]))


def usable(model: Any, compiled: bool) -> None:
    """Golden model and compiler take it, or say what they do not support."""
    rows = random_rows(model, min(2, model.max_tokens))
    if rows.shape[1] <= 64 and model.max_tokens <= 64:
        assert forward(model, rows)["output"].size
    if compiled:
        outcome(lambda: compile_model(model, preset("tiny")), "model")


@pytest.mark.parametrize("shape", MODELS, ids=["vit", "bert", "ibert", "attention"])
def test_model_files(tmp_path: Path, refused: Callable, shape: dict):
    random, path, counts = Random(0), tmp_path / "m.model", Counter()
    model = random_model(**shape)
    digest = save_model(model, path)
    data = path.read_bytes()
    tensors = safetensors.numpy.load(data)
    structure = modelfile._encode(model)[0]
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    for _ in range(CASES // len(MODELS)):
        changed, arrays, hashed = structure, dict(tensors), digest
        way = random.choice(["structure", "structure", "tensors", "outer", "bytes"])
        if way == "bytes":
            path.write_bytes(damaged_bytes(data, random))
        elif way == "outer":
            text = json_text(mutate(outer, random)).encode()
            path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        else:
            if way == "structure":
                changed = mutate(structure, random)
            else:
                name = random.choice(list(arrays))
                arrays[name] = np.ascontiguousarray(other_tensor(arrays[name], random))
            if random.random() < 0.75:
                hashed = new_digest(changed, arrays, digest)
            write_model(path, changed, arrays, hashed)
        found = outcome(lambda: load_model(path), "m.model")
        counts[way, hashed == digest, found is not None] += 1
        if found is not None:  # what its hash says; with the first hash, what it was
            assert content_hash(found) == hashed
            usable(found, counts.total() % 5 == 0)
        else:
            refused("generate", "--config", "tiny", "--model", path, "-o", tmp_path / "out")
    assert counts["structure", False, False] > 100 and counts["tensors", False, True] > 10, counts


# --- folders


def resealed(facts: Any) -> str:
    """The text of changed facts under a hash made anew, as far as there is one."""
    text = json_text(facts)
    try:
        read = json.loads(text)
        hashed = jsonfile._digest({name: fact for name, fact in read.items() if name != SEAL})
        return json_text({**facts, SEAL: hashed})
    except (ValueError, RecursionError, AttributeError):
        return text


def damaged_text(path: Path, data: bytes, random: Random) -> bool:
    """Damage a sealed file; returns whether its hash was made anew."""
    if random.random() < 0.15:
        path.write_bytes(damaged_bytes(data, random))
        return False
    changed, again = mutate(json.loads(data), random), random.random() < 0.7
    path.write_text((resealed if again else json_text)(changed))
    return again


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same model and configuration there is the same image."""
    images: dict[tuple, Any] = {}

    def compiled(model: Any, config: Any) -> Any:
        key = content_hash(model), config
        if key not in images:
            images[key] = compile_model(model, config)
        return images[key]

    monkeypatch.setattr("gen.emit.manifest.compile_model", compiled)


@pytest.mark.parametrize("wrapper", [None, pytest.param("axi", marks=pytest.mark.slow)])
def test_manifests(tmp_path: Path, quick: None, refused: Callable, wrapper: str | None):
    """What a manifest says follows from the other files, or stands in interface.md: no change of it is taken."""
    random, counts, config = Random(1), Counter(), preset("tiny")
    write_design(tmp_path, small_model(), compile_model(small_model(), config), stand_in(config), wrapper=wrapper)
    path = tmp_path / MANIFEST
    data = path.read_bytes()
    first = canonical(open_design(tmp_path).manifest)
    for _ in range(CASES // 2):
        again = damaged_text(path, data, random)
        found = outcome(lambda: open_design(tmp_path), str(tmp_path))
        counts[again, found is not None] += 1
        if found is not None:
            assert canonical(found.manifest) == first
        else:
            refused("simulate", tmp_path, "--input", CALIBRATION)
    assert counts[True, False] > 500 and counts[True, True] < 50, counts


def test_builds(tmp_path: Path, refused: Callable):
    """build.json's hash stands in build.md too, so that no change of it alone is taken."""
    random, counts, folder = Random(2), Counter(), tmp_path / "d"
    write_stand_in(folder)
    write_build(folder, BOARDS["ulx3s-85f"])
    path = folder / "build.json"
    data, first = path.read_bytes(), open_built(folder)
    for _ in range(CASES):
        again = damaged_text(path, data, random)
        found = outcome(lambda: open_built(folder), str(folder))
        counts[again, found is not None] += 1
        assert found in (None, first)
        if found is None:
            refused("flash", folder)
    assert counts[True, False] > 1000 and counts[True, True] < 100, counts


def test_builds_of_another_meaning(tmp_path: Path):
    """Under an own hash that build.md repeats, what is in range and of this accelerator can be; the rest cannot."""
    random, counts, folder = Random(3), Counter(), tmp_path / "d"
    write_stand_in(folder)
    facts = write_build(folder, BOARDS["ulx3s-85f"])
    del facts[SEAL]
    for _ in range(CASES):
        text = json_text(mutate(facts, random))
        try:
            sealed = jsonfile.seal(json.loads(text))
        except (ValueError, RecursionError):
            continue
        (folder / "build.json").write_text(json_text(sealed))
        (folder / "build.md").write_text(f"\nbuild.json has the hash {sealed[SEAL]}.\n")
        found = outcome(lambda: open_built(folder), str(folder))
        counts[found is not None] += 1
        if found is not None:
            same = ("bitstream", "files", "model_hash", "configuration_sha256", "format")
            assert [sealed[name] for name in same] == [facts[name] for name in same]
            assert 8 <= found.clock_hz / found.baud <= 10_000 and found.bitstream == folder / "board.bit"
    assert counts[False] > 1000, counts


# --- arrays


def rewritten_header(data: bytes, random: Random) -> bytes:
    """A ``.npy`` file whose header says something else, and is as long as it says."""
    length = int.from_bytes(data[8:10], "little")
    header = data[10 : 10 + length].decode("latin1").rstrip()
    shape = header[header.index("(") :].partition(")")[0] + ")"
    places = [
        (shape, ["()", "(1,)", "(-1,)", "(2, 3, 8)", "(48,)", "(10**12, 8)", "(1000000000000, 8, 8)", "(True, 48)",
                 "48", "(6, 8.0)", "(6, None)", "(6, (8,))", "'x'", "(" * 500, "(6,", f"({'1, ' * 80}48)",
                 f"({'9' * 900}, 0)", "(-6, -8)", "(9223372036854775807, 2)", "(4294967296, 4294967296)"]),
        (header[header.index("descr") + 8 :].split(", ")[0],
         ["'|b1'", "'|i1'", "'<u2'", "'>u2'", "'<f4'", "'<f8'", "'<f16'", "'<c8'", "'|O'", "'|S48'", "'<U12'", "'|V8'",
          "'<M8[s]'", "[('a', '<i4')]", "None", "7", "'x'", "''", "('|u1', (2,))", "'|u1,|u1'", "'\\\\d'"]),
        ("False", ["True", "None", "1", "'False'"]),
        ("descr", ["Descr", "", "shape"]),
        ("shape", ["Shape", "descr"]),
        ("{", ["", "{{", "{'x': 1, ", "[", "-" * 200]),
        ("}", ["", "}}", "})", "}\n\n", "} + {}", "\0"]),
    ]  # fmt: skip
    old, choices = random.choice(places)
    changed = header.replace(old, random.choice(choices), 1).encode("latin1")
    version = random.choice([b"\x01\x00"] * 8 + [b"\x02\x00", b"\x03\x00", b"\x00\x01", b"\x04\x00"])
    size = len(changed).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return data[:6] + version + size + changed + data[10 + length :]


def damaged_zip(data: bytes, random: Random) -> bytes:
    """A ``.npz`` file with another value in a field of its directory or of a member's header."""
    marks = [(b"PK\x01\x02", 46), (b"PK\x03\x04", 30), (b"PK\x05\x06", 22)]
    mark, length = random.choice(marks)
    starts = [n for n in range(len(data)) if data.startswith(mark, n)]
    place = random.choice(starts) + random.randrange(4, length)
    value = random.choice([b"\0", b"\xff", b"\x01", b"\x08", b"\x0c", b"\x63"]) * random.choice([1, 2, 4])
    return data[:place] + value + data[place + len(value) :]


def saved(save: Callable, *arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int64])
def test_npy_files(tmp_path: Path, refused: Callable, kind: type):
    """A ``.npy`` file has no checksum: what is taken is all of it, and the numbers that NumPy reads in it."""
    random, counts, path = Random(4), Counter(), tmp_path / "x.npy"
    data = saved(np.save, np.arange(48).reshape(6, 8).astype(kind))
    for _ in range(CASES // 3):
        damaged = random.choice([rewritten_header, rewritten_header, damaged_bytes])(data, random)
        path.write_bytes(damaged)
        found = outcome(lambda: load_array(path), "x.npy")
        counts[found is not None] += 1
        if found is not None:
            stream = io.BytesIO(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = np.load(stream)
            assert not stream.read() and found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
            assert found.shape == expected.shape and found.dtype.kind in "biuf"
            inputs_of(found)
        else:
            refused("quantize", DIGITS / "checkpoint", "--calibration", path, "-o", tmp_path / "m")
    assert counts[False] > CASES // 6 and counts[True] > 20, counts


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files(tmp_path: Path, refused: Callable, save: Callable):
    """A ``.npz`` file has a checksum for each array: damage is refused, or without effect."""
    random, counts, path = Random(5), Counter(), tmp_path / "x.npz"
    arrays = [np.arange(8 * n).reshape(n, 8).astype(kind) for n, kind in ((3, np.int16), (4, np.int16), (2, np.uint8))]
    data = saved(save, *arrays)
    for _ in range(CASES // 2):
        path.write_bytes(random.choice([damaged_zip, damaged_bytes])(data, random))
        found = outcome(lambda: load_array(path), "x.npz")
        counts[found is not None] += 1
        if found is not None:
            assert len(found) == len(arrays)
            for array, original in zip(found, arrays, strict=True):
                assert array.dtype == original.dtype and np.array_equal(array, original)
        else:
            refused("quantize", DIGITS / "checkpoint", "--calibration", path, "-o", tmp_path / "m")
    assert counts[False] > CASES // 6, counts


@cache
def small_image() -> Any:
    return compile_model(small_model(), preset("tiny"))


def inputs_of(array: np.ndarray) -> None:
    """What takes arrays refuses this one by name, or takes it."""
    outcome(lambda: small_image().input_packet(array), "input")
    for shape in ({"pixels": 4}, {"norm": "post"}, {"layers": 0}):
        outcome(lambda shape=shape: random_checkpoint(hidden=8, heads=1, ffn=8, **shape).samples(array), "input")


# --- configurations

KINDS = {name: type(value) for name, value in asdict(preset("tiny")).items()}


def test_configurations(tmp_path: Path, refused: Callable, model_file: Path):
    """A configuration file has no hash: what is taken has integers where integers belong."""
    random, counts, path = Random(6), Counter(), tmp_path / "c.json"
    whole = {name: asdict(preset(name)) for name in ("tiny", "edge")}
    for _ in range(CASES):
        facts = random.choice([*whole.values(), {"preset": "tiny", "slots": 4, "dense": False, "gelu": "table"}])
        path.write_text(json_text(mutate(facts, random)))
        found = outcome(lambda: load_config(str(path)), "c.json")
        counts[found is not None] += 1
        if found is not None:
            assert {name: type(value) for name, value in asdict(found).items()} == KINDS
        else:
            refused("generate", "--config", path, "--model", model_file, "-o", tmp_path / "out")
    assert min(counts.values()) > 100, counts


# --- checkpoints


def test_checkpoints(tmp_path: Path, refused: Callable):
    """A checkpoint has no hash either: it is read, or what is wrong with it is named."""
    random, counts, folder = Random(7), Counter(), tmp_path / "c"
    shutil.copytree(DIGITS / "checkpoint", folder)
    texts = {name: (folder / name).read_bytes() for name in ("config.json", "preprocessor_config.json")}
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    for _ in range(CASES // 4):
        name = random.choice([*texts, "header", "bytes"])
        if name in texts:
            (folder / name).write_text(json_text(mutate(json.loads(texts[name]), random)))
        elif name == "header":
            text = json_text(mutate(outer, random)).encode()
            path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        else:
            path.write_bytes(damaged_bytes(data[: 8 + length], random) + data[8 + length :])
        found = outcome(lambda: read_checkpoint(folder), str(folder))
        counts[name, found is not None] += 1
        if found is None:
            refused("quantize", folder, "--calibration", CALIBRATION, "-o", tmp_path / "m")
        path.write_bytes(data)
        for file, text in texts.items():
            (folder / file).write_bytes(text)
    assert counts["config.json", True] > 20 and counts["bytes", False] > 50, counts
