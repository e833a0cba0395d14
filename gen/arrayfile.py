# SPDX-License-Identifier: Apache-2.0
"""NumPy's files, read so that whatever is wrong with one is an error that names it."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.errors import InputError, brief
from gen.files import read_bytes

__all__ = ["read_arrays"]

_END = b"PK\x05\x06"
_ZIP = (b"PK\x03\x04", _END)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MOST_BYTES = 1 << 32
"""What a ``.npz`` file may unpack to: a few bytes may claim any size."""


def read_arrays(path: str | Path) -> npt.NDArray | dict[str, npt.NDArray]:
    """The array of a ``.npy`` file, or by name those of a ``.npz`` file: booleans, integers or floats.

    Raises
    ------
    InputError
        If it cannot be read, holds something else, or its parts contradict each other.
    """
    data = read_bytes(path)
    return _archive(data, str(path)) if data.startswith(_ZIP) else _array(data, str(path))


def _archive(data: bytes, path: str) -> dict[str, npt.NDArray]:
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if (total := sum(member.file_size for member in archive.infolist())) > MOST_BYTES:
                raise ValueError(f"unpacks to {total} bytes, more than {MOST_BYTES}")
            if not len(archive.infolist()) == int.from_bytes(data[data.rfind(_END) + 10 :][:2], "little") > 0:
                raise ValueError("its directory is not whole")  # zipfile does not count
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in members:
                    raise ValueError(f"holds {name!r} twice")
                members[name] = archive.read(member)
    except Exception as error:  # zipfile and the decompressors behind it raise all sorts
        raise InputError(f"{path}: truncated or altered ({brief(error)}); save it with numpy.savez") from None
    return {name: _array(content, f"{path}: array {name}") for name, content in members.items()}


def _array(data: bytes, where: str) -> npt.NDArray:
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote a header
            shape, columns_first, kind = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # the header is a Python literal, and its parser raises all sorts
        raise InputError(f"{where}: not a NumPy array of numbers ({brief(error)}); save it with numpy.save") from None
    if kind.kind not in "biuf":
        raise InputError(f"{where}: holds {brief(kind)}, not numbers; save numbers with numpy.save")
    count = math.prod(shape)
    try:
        if min(shape, default=0) < 0 or count * kind.itemsize != len(data) - stream.tell():
            raise ValueError
        values = np.frombuffer(data, kind, offset=stream.tell()) if count else np.zeros(0, kind)
        return values.reshape(shape, order="F" if columns_first else "C").copy()
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: truncated or altered, for {len(data) - stream.tell()} bytes are no {kind} of shape "
            f"{brief(shape, 80)}; save it with numpy.save"
        ) from None
