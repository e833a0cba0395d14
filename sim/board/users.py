# SPDX-License-Identifier: Apache-2.0
"""Who has a file open, as inotify tells: a terminal that we hold open ourselves does not say when others close it."""

import ctypes
import os
import struct

__all__ = ["Users"]

_OPEN, _CLOSE = 0x20, 0x08 | 0x10  # IN_OPEN; IN_CLOSE_WRITE and IN_CLOSE_NOWRITE
_EVENT = struct.Struct("iIII")


class Users:
    """Counts who opens and closes a file from now on.

    Attributes
    ----------
    now : int
        How many have it open.

    Raises
    ------
    OSError
        If the system cannot watch the file.
    """

    def __init__(self, path: str):
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.now = 0
        if self._descriptor < 0 or library.inotify_add_watch(self._descriptor, os.fsencode(path), _OPEN | _CLOSE) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)

    def fileno(self) -> int:
        """Readable when something has happened."""
        return self._descriptor

    def have_all_gone(self) -> bool:
        """Whether, since the last call, there was a moment at which the last of them closed it."""
        gone = False
        try:
            events = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return False
        while events:
            _, mask, _, length = _EVENT.unpack_from(events)
            events = events[_EVENT.size + length :]
            self.now += bool(mask & _OPEN) - bool(mask & _CLOSE)
            gone |= bool(mask & _CLOSE) and self.now == 0
        return gone

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)
