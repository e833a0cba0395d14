# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of tests/corefuzz.py through an IP top: wrong packets, lengths and resets, a right run after each."""

import json
from pathlib import Path

from sim.tb import parameters
from sim.tb.wrapped import Host, field, get, put

__all__ = ["Top", "run_cases"]


class Top(Host):
    """Registers and streams of a top."""

    async def send(self, words: list[int]) -> None:
        """Words for the input stream; in the background where they are not taken at once."""

    async def receive(self, count: int) -> list[int]:
        """Words of the output stream, to the last of a result."""
        raise NotImplementedError

    async def forget(self) -> None:
        """Drop what has not been taken, or not been looked at: the core is reset."""

    async def wait(self, cycles: int) -> None:
        """Let cycles pass."""


async def run_cases(top: Top) -> None:
    """The cases of the file ``cases``; their results' words go to the file ``results``."""
    given = json.loads(Path(parameters()["cases"]).read_text())
    results, errors, words = [], 0, given["words"]
    for number, case in enumerate(given["cases"]):
        where = f"case {number}: {case['kind']} {[step[0] for step in case['steps']]}"
        await _name_model(top, given["model_hash"])
        for name, *values in case["steps"]:
            if name == "length":
                await put(top, "SEQ_LEN", values[0])
            elif name == "start":
                await put(top, "CONTROL", field("CONTROL", "start"))
            elif name == "send":
                await top.send(values[0])
            elif name == "wait":
                await top.wait(values[0])
            elif name == "result":
                results.append(await top.receive(words[values[0]]))
            elif name == "errors":
                assert await get(top, "ERRORS") == errors | values[0], where
            else:
                await top.forget()
                await put(top, "CONTROL", field("CONTROL", "reset"))
                await top.wait(20)
                await top.forget()
                assert await get(top, "STATUS") == field("STATUS", "idle"), where
                errors = 0
        if not case["started"]:
            await put(top, "SEQ_LEN", case["tokens"])
            await put(top, "CONTROL", field("CONTROL", "start"))
        await top.send(case["packet"])
        results.append(await top.receive(words[case["number"]]))
        while not await get(top, "STATUS") & field("STATUS", "idle"):
            await top.wait(20)
        errors |= case["errors"]
        assert await get(top, "ERRORS") == errors, where
        assert bool(await get(top, "STATUS") & field("STATUS", "error")) == bool(errors), where
        if case["kind"] == "packets":  # in the others a reset may come before the packet's header
            hashes = [await get(top, f"MODEL_HASH_{half}") for half in ("LO", "HI")]
            assert hashes == ([0, 0] if case["loads"] else given["model_hash"]), where
        if number % 5 == 4:
            await put(top, "ERRORS", errors)
            assert await get(top, "ERRORS") == 0, where
            errors = 0
    Path(parameters()["results"]).write_text(json.dumps(results))


async def _name_model(top: Top, halves: list[int]) -> None:
    for half, value in zip(("LO", "HI"), halves, strict=True):
        await put(top, f"MODEL_HASH_{half}", value)
