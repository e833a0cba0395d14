# SPDX-License-Identifier: Apache-2.0
"""The tools that write a bitstream to a board. What goes wrong before it is written is the user's to put right."""

from __future__ import annotations

import re
import shutil
import signal
import struct
import subprocess
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from gen.errors import InputError

__all__ = ["DfuUtil", "OpenFpgaLoader", "Programmer", "ToolCrashed", "dfu_suffix"]

_LIST_S = 60
_WRITE_S = 600
_FAILED = re.compile(r"\b(fail(s|ed|ure)?|(?<!no )error)\b", re.IGNORECASE)


class ToolCrashed(RuntimeError):
    """The tool said that all is written, and then did not end as it should: the board may well be in order."""


@dataclass(frozen=True, kw_only=True)
class Programmer(ABC):
    """How to find boards of a kind and to write a bitstream to one of them.

    ``vendor_product``: USB identity, as the tool writes it. ``tool`` is its command, ``install`` how to come by it.
    """

    vendor_product: str
    tool: str = ""
    install: str = ""
    absent: str = ""
    """What to do where no board is seen."""
    persistent: bool = False
    """The board keeps what is written in its flash memory; there is no other way to load it."""

    @abstractmethod
    def devices(self) -> dict[str, str]:
        """Boards that are plugged in: as ``--device`` takes them, and what the tool says of each.

        Raises
        ------
        InputError
            If the tool is not installed or fails.
        """

    @abstractmethod
    def write(self, bitstream: Path, device: str, *, permanent: bool) -> None:
        """Write ``bitstream`` to ``device``, where ``permanent`` into the flash memory that it starts from.

        Raises
        ------
        InputError
            If the tool fails, or does not say that it is done.
        ToolCrashed
            If it fails when it has said so.
        """

    def choose(self, device: str | None) -> str:
        """The board to write to: ``device``, or the only one there is.

        Raises
        ------
        InputError
            If there is none, it is not among them, there are several to choose from, or it says that it is another.
        """
        found = self.devices()
        if not found:
            raise InputError(f"{self.tool}: sees no board (USB {self.vendor_product}); {self.absent}")
        if device is None and len(found) == 1:
            (device,) = found
        if device in found:
            self._check(device, found[device])
            return device
        listed = ", ".join(found)
        if device is None:
            raise InputError(f"{self.tool}: sees {len(found)} boards; choose one with --device: {listed}")
        raise InputError(f"--device: no board at {device}; there is {listed}")

    @abstractmethod
    def _check(self, device: str, said: str) -> None:
        """Refuse a board that says that it is not the one which is wanted."""

    def _run(self, arguments: list[str], timeout: float) -> str:
        """What the tool printed."""
        said, end = self._call(arguments, timeout)
        if end:
            raise self._failed(end, _last_line(said))
        return said

    def _call(self, arguments: list[str], timeout: float) -> tuple[str, str]:
        """What the tool printed, and how it ended, in words, if not well."""
        if shutil.which(self.tool) is None:
            raise InputError(f"{self.tool}: not installed; {self.install}")
        try:
            result = subprocess.run(
                [self.tool, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
            printed, end = result.stdout, _end(result.returncode)
        except subprocess.TimeoutExpired as error:
            printed, end = error.stdout or b"", f"no end after {timeout:g} s"
        except OSError as error:
            raise InputError(f"{self.tool}: does not start ({error.strerror}); {self.install}") from None
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", printed.decode(errors="replace")).replace("\r", "\n"), end

    def _failed(self, end: str, reason: str) -> InputError:
        return InputError(
            f"{self.tool}: {end} ({reason}); check cable and permissions (udev rules), plug the board in anew and try "
            "again"
        )

    def _write(self, arguments: list[str], done: str) -> None:
        """Run the tool, which must say that it is done, as regular expression ``done`` has it, and of nothing that it
        failed."""
        said, end = self._call(arguments, _WRITE_S)
        finished = re.search(done, said, re.MULTILINE | re.DOTALL | re.IGNORECASE)
        before = said[: finished.end()] if finished and end else said  # what a tool that crashes says is no verdict
        failed = [line.strip() for line in before.splitlines() if _FAILED.search(line)]
        if failed or not finished:
            reason = failed[0][:200] if failed else _last_line(said)
            raise self._failed(end or "ended without saying that it was done", reason)
        if end:
            raise ToolCrashed(f"{self.tool}: said that it was done, and then: {end} ({_last_line(said)})")


@dataclass(frozen=True, kw_only=True)
class OpenFpgaLoader(Programmer):
    """openFPGALoader. Devices are USB bus and device number, such as 001:004.

    ``size``: as the board's USB name tells its FPGA's ("ULX3S FPGA 85K v3.0.8"), where it does.
    """

    board: str
    size: str
    tool: str = "openFPGALoader"
    install: str = "install it (Debian, Ubuntu: apt-get install openfpgaloader), or put it on PATH"
    absent: str = "plug it in, check the cable and the permissions of USB devices (openFPGALoader's udev rules)"

    def devices(self) -> dict[str, str]:
        said = self._run(["--scan-usb"], _LIST_S)
        entry = rf"^\s*(\d+)\s+(\d+)\s+{re.escape(self.vendor_product)}\b(.*)$"
        return {f"{bus}:{number}": text for bus, number, text in re.findall(entry, said, re.MULTILINE | re.IGNORECASE)}

    def _check(self, device: str, said: str) -> None:
        told = re.search(r"\b(12|25|45|85)K\b", said)
        if told and told[0] != self.size:
            raise InputError(
                f"{self.tool}: the board at {device} is a {told[0]}, and the bitstream is for {self.size}; build "
                "for that board, or choose another with --device"
            )

    def write(self, bitstream: Path, device: str, *, permanent: bool) -> None:
        arguments = ["--board", self.board, "--busdev-num", device]
        arguments += ["--write-flash", "--verify"] if permanent else ["--write-sram"]
        self._write([*arguments, str(bitstream)], done=r"^Verifying.*^Done$" if permanent else "^Done$")


@dataclass(frozen=True, kw_only=True)
class DfuUtil(Programmer):
    """dfu-util. Devices are USB paths, such as 1-2.3. The file gets the suffix that names the board it is for."""

    tool: str = "dfu-util"
    install: str = "install it (Debian, Ubuntu: apt-get install dfu-util), or put it on PATH"
    absent: str = "hold its button while plugging it in, which starts the boot loader, and check the permissions"
    persistent: bool = True

    def devices(self) -> dict[str, str]:
        said = self._run(["--list"], _LIST_S)
        entry = rf'^Found DFU: \[{re.escape(self.vendor_product)}\].*?path="([^"]+)"(.*)$'
        return dict(re.findall(entry, said, re.MULTILINE | re.IGNORECASE))

    def write(self, bitstream: Path, device: str, *, permanent: bool) -> None:
        file = bitstream.with_suffix(".dfu")
        vendor, product = (int(part, 16) for part in self.vendor_product.split(":"))
        try:
            data = bitstream.read_bytes()
            file.write_bytes(data + dfu_suffix(data, vendor, product))
            arguments = ["--device", self.vendor_product, "--path", device, "--alt", "0", "--download", str(file)]
            self._write(arguments, done="^Download done")
        finally:
            file.unlink(missing_ok=True)

    def _check(self, device: str, said: str) -> None:
        """The boot loader does not say which FPGA it loads."""


def dfu_suffix(data: bytes, vendor: int, product: int) -> bytes:
    """The 16 bytes that end a DFU file (USB DFU 1.1, appendix B): identity, signature and CRC."""
    suffix = struct.pack("<HHHH3sB", 0xFFFF, product, vendor, 0x0100, b"UFD", 16)
    return suffix + struct.pack("<I", zlib.crc32(data + suffix) ^ 0xFFFFFFFF)


def _end(status: int) -> str:
    """How a process ended, by its exit status or a shell's; nothing if well."""
    number = -status if status < 0 else status - 128
    if number in set(signal.Signals):
        return f"crashed with {signal.Signals(number).name}"
    return f"stopped with status {status}" if status else ""


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
