# SPDX-License-Identifier: Apache-2.0
"""hw/names.py: signals have the names that the source gives them, and so the Verilog is the same on every Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import amaranth
import pytest
from amaranth import tracer
from amaranth.hdl import ClockDomain, Signal
from amaranth.lib.memory import Memory

from hw.names import names_from_source
from tests.commandline import ROOT
from tests.emission import DESIGNS, UNNAMED, emit

QUICK = ("tiny", "wishbone", "board")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in DESIGNS])
def test_nothing_in_what_is_emitted_is_unnamed(name: str):
    """Even by an Amaranth that finds no name itself: what is made before emission begins has a name from its maker."""
    blind = pytest.MonkeyPatch()
    blind.setattr(tracer, "get_var_name", finds_nothing)
    with blind.context():
        text = emit(name)
    blind.undo()
    assert not UNNAMED.findall(text), f"give these a name=: {UNNAMED.findall(text)[:5]}"
    if name == "wishbone":
        assert text == emit(name)


def finds_nothing(depth: int = 2, default: object = None) -> object:
    if default is None:
        raise tracer.NameNotFound
    return default


def test_names_are_those_of_the_source():
    class Holder:
        pass

    it, flag = Holder(), 1
    with names_from_source():
        plain = Signal(3)
        first, second, third = Signal(), Signal(range(5), init=2), Signal()
        (inner, outer), number = (Signal(), Signal()), 7
        it.member = Signal()
        chained = it.other = Signal()
        annotated: Signal = Signal()
        chosen = Signal() if flag else Signal(2)
        refused = Signal(2) if not flag else Signal()
        alike = Signal.like(plain)
        over_lines = Signal(
            range(
                4,
            ),
        )
        keywords = {"init": 1}
        given = Signal(2, **keywords)
        explicit = Signal(name="another")
        unicode_before, ünïcode = "äöü", Signal()
        memory = Memory(shape=8, depth=4, init=[])
        domain = ClockDomain()
        if (walrus := Signal()) is None:
            raise AssertionError
        closed = Signal()

        def reads():
            return closed

        listed = [Signal() for _ in range(2)]
    found = {
        name: value.name
        for name, value in locals().items()
        if isinstance(value, Signal | ClockDomain) and name not in ("explicit", "value")
    }
    assert found == {name: name for name in found} and len(found) == 17, found
    assert (it.member.name, it.other.name, memory.data.name) == ("member", "chained", "memory")
    assert reads().name == "closed" and explicit.name == "another"
    assert unicode_before and number and [s.name for s in listed] == ["$signal"] * 2


def test_amaranth_finds_names_itself_before_and_after():
    before = tracer.get_var_name
    with pytest.raises(ZeroDivisionError), names_from_source():
        assert tracer.get_var_name is not before
        raise ZeroDivisionError
    assert tracer.get_var_name is before


def test_code_without_source_is_amaranth_s_own_affair():
    scope: dict[str, object] = {"Signal": Signal}
    with names_from_source():
        exec("class Holder: pass\nholder = Holder()\nholder.member = Signal()", scope)
        exec("some = dict(a=Signal())", scope)
    assert scope["holder"].member.name == "member" and scope["some"]["a"].name == "$signal"


def test_code_without_positions_is_refused(tmp_path: Path):
    """Instead of other names."""
    code = "from tests.emission import emit; emit('wishbone')"
    found = python(sys.executable, "-X", "no_debug_ranges", "-c", code, PYTHONPYCACHEPREFIX=str(tmp_path))
    assert found.returncode == 1
    last = found.stderr.splitlines()[-1]
    assert "PositionsMissing: " in last and ".py: compiled without positions" in last and "__pycache__" in last


# --- other versions of Python


def python(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Another Python that has this one's packages: those that emission needs are pure ones."""
    beside = str(Path(sys.executable).parent)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(amaranth.__file__).parents[1])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.pathsep.join([beside, os.environ.get("PATH", "")]),
    }
    return subprocess.run(
        [program, *arguments], cwd=ROOT, env=env | environment, capture_output=True, text=True, check=False
    )


def others() -> dict[str, str]:
    """Interpreters of other versions, by version: those that RTLFORMER_PYTHONS names, and on PATH."""
    named = os.environ.get("RTLFORMER_PYTHONS", "").split(os.pathsep)
    found = {}
    for program in (*named, *(shutil.which(f"python3.{minor}") for minor in range(11, 20))):
        if program:
            asked = python(program, "-c", "import sys, amaranth.hdl; print('%d.%d' % sys.version_info[:2])")
            assert asked.returncode == 0 or program not in named, f"RTLFORMER_PYTHONS: {program}: {asked.stderr}"
            if asked.returncode == 0:
                found[asked.stdout.strip()] = program
    found.pop("{}.{}".format(*sys.version_info), None)
    return found


@pytest.mark.slow
def test_every_python_emits_the_same(tmp_path: Path):
    """Byte for byte; without another version, another process with another hash seed and optimised bytecode."""
    programs = others() or {"this": sys.executable}
    for number, (release, program) in enumerate(programs.items()):
        folder = tmp_path / release
        folder.mkdir()
        options = ["-OO"] if release == "this" else []
        made = python(program, *options, "-m", "tests.emission", str(folder), PYTHONHASHSEED=str(number + 1))
        assert made.returncode == 0, made.stderr
        for name in DESIGNS:
            assert (folder / f"{name}.v").read_text(encoding="utf-8") == emit(name), f"{name}, Python {release}"
