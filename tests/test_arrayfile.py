# SPDX-License-Identifier: Apache-2.0
"""NumPy's files: what is whole is read as NumPy reads it, and everything else is an error that names the file."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gen.arrayfile
from gen.arrayfile import read_arrays
from gen.errors import InputError

ARRAYS = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.ones(4, ">f4"), "c": np.array(3), "d": np.eye(2) > 0}


def npy(shape: str, descr: str = "'|u1'", data: bytes = b"", order: str = "False") -> bytes:
    """A file whose header says what it is told to."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def refused(path: Path, data: bytes, *words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "; save" in message and len(message) < 500, message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path: Path, save):
    path = tmp_path / "x.npz"
    save(path, **ARRAYS)
    found = read_arrays(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    for array in (*ARRAYS.values(), np.asfortranarray(ARRAYS["a"]), np.zeros((0, 3)), np.zeros((3, 0, 2), np.int64)):
        np.save(tmp_path / "x.npy", array)
        found = read_arrays(tmp_path / "x.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy("(1000000000000, 8, 8)", data=bytes(64)), ("64 bytes are no uint8 of shape (1000000000000, 8, 8)",)),
        (npy("(-1, -64)", data=bytes(64)), ("of shape (-1, -64)",)),
        (npy("(8,)", data=bytes(9)), ("9 bytes are no uint8 of shape (8,)",)),
        (npy("(8,)", data=bytes(7)), ("7 bytes",)),
        (npy(f"({'1, ' * 100})", data=b"x"), ("no uint8 of shape (1, 1,",)),
        (npy("(10000000000000000000000000000000, 0)"), ("of shape (1000",)),
        (npy(f"({'9' * 4000}, {'9' * 4000})"), ("no uint8 of shape",)),
        (npy("(8"), ("not a NumPy array",)),
        (npy("(" * 3000), ("not a NumPy array",)),
        (npy("(8,) if 1 else 2", data=bytes(8)), ("not a NumPy array",)),
        (npy("'x'"), ("not a NumPy array",)),
        (npy("(1,)", "'O'", b"cos\nsystem\n"), ("holds object, not numbers",)),
        (npy("(1,)", "'<U3'", bytes(12)), ("holds <U3, not numbers",)),
        (npy("(1,)", "[('a', '<i4')]", bytes(4)), ("not numbers",)),
        (npy("(1,)", "'nonsense'"), ("not a NumPy array",)),
        (npy("(1,)", "'\\d'", b"x"), ("not a NumPy array",)),
        (npy("(1,)", order="7", data=b"x"), ("not a NumPy array",)),
        (b"\x93NUMPY\x09\x00" + bytes(100), ("not a NumPy array",)),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", ("not a NumPy array",)),
        (b"", ("not a NumPy array",)),
        (b"\x80\x04K\x07.", ("not a NumPy array",)),
    ],
)
def test_damaged_npy(tmp_path: Path, data: bytes, words: tuple[str, ...]):
    refused(tmp_path / "x.npy", data, *words)
    refused(tmp_path / "x.npz", zipped({"first": npy("(1,)", data=b"x"), "bad": data}), "array bad", *words)


def test_header_of_python_2_is_read(tmp_path: Path):
    (tmp_path / "x.npy").write_bytes(npy("(2L, 3L)", data=bytes(6)))
    assert read_arrays(tmp_path / "x.npy").shape == (2, 3)


def test_damaged_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, member = tmp_path / "x.npz", npy("(100,)", data=bytes(100))
    whole = zipped({"a": member})
    central = whole.index(b"PK\x01\x02")
    body = whole.index(b"a.npy") + 10
    refused(path, whole[:body] + b"\xff\xff\xff" + whole[body + 3 :], "truncated or altered")  # zlib.error
    for offset, value, words in (
        (8, 1, ("encrypted",)),  # RuntimeError
        (10, 99, ("compression",)),  # NotImplementedError
        (16, 7, ("CRC",)),
        (24, 7, ()),
        (42, 9, ()),
    ):
        altered = bytearray(whole)
        struct.pack_into("<H", altered, central + offset, value)
        refused(path, bytes(altered), "truncated or altered", *words)
    refused(path, whole[:-30], "truncated or altered")
    for offset in (10, 12, 16):  # number of members, size and place of the directory
        end = bytearray(whole)
        struct.pack_into("<H", end, len(whole) - 22 + offset, 0)
        refused(path, bytes(end), "truncated or altered")
    refused(path, zipped({}), "directory is not whole")
    refused(path, b"PK\x03\x04 not a zip", "truncated or altered")
    refused(path, zipped({"readme": b"hello"}), "array readme: not a NumPy array")  # AttributeError
    with pytest.warns(UserWarning, match="Duplicate name"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a.npy", member)
            archive.writestr("a.npy", member)
    refused(path, buffer.getvalue(), "holds 'a' twice")
    monkeypatch.setattr(gen.arrayfile, "MOST_BYTES", 100)
    refused(path, whole, "unpacks to", "more than 100")


def test_files_that_cannot_be_read(tmp_path: Path):
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=words):
            read_arrays(path)
