# SPDX-License-Identifier: Apache-2.0
"""A simulated board behind a pseudo-terminal, which programs open as they open a serial port."""

import os
import pty
import select
import termios
import threading
import tty

from sim.board import SimulatedBoard
from sim.board.users import Users

__all__ = ["Terminal"]

_SLICE = 2_000  # cycles between two looks at the terminal: some ten bytes of the line
_REST = 200_000  # cycles after the line was last in use, from which on the board is let run at leisure
_REST_S = 0.01
_BACKLOG = 1 << 16  # bytes for a reader that does not read; more are lost, as on a real line


class Terminal:
    """Runs a board, in a thread of its own, and passes bytes both ways until it is closed.

    The baud rate that programs set means nothing: time is the simulated clock's. Programs may come and go: when the
    last one has closed the terminal, what it asked and was not answered yet is dropped.

    Attributes
    ----------
    path : str
        Of the terminal.
    """

    def __init__(self, board: SimulatedBoard):
        self.board = board
        self._master, self._slave = pty.openpty()  # ours stays open, so that the terminal outlives its users
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._users = Users(self.path)
        self._wake, self._waker = os.pipe()
        self._reset = threading.Event()
        self._error: Exception | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._guard, name="simulated board", daemon=True).start()

    def close(self) -> None:
        """Stop, and switch the board off."""
        os.write(self._waker, b"x")
        self._ended.wait()
        self._users.close()
        for descriptor in (self._master, self._slave, self._wake, self._waker):
            os.close(descriptor)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self) -> None:
        """Press the board's reset button."""
        self._reset.set()

    def wait(self) -> None:
        """Return when the board has stopped, which only :meth:`close` or an error, raised here, makes it do."""
        self._ended.wait()  # a join that Ctrl-C interrupts would count the thread as ended
        if self._error:
            raise self._error

    def _guard(self) -> None:
        try:
            self._run()
        except Exception as error:
            self._error = error
        finally:
            self.board.close()  # here, where nobody can be using it
            self._ended.set()

    def _run(self) -> None:
        board, backlog = self.board, b""
        while True:
            resting = board.quiet > _REST and not backlog
            watched: list[int | Users] = [self._master, self._wake, self._users]
            ready, _, _ = select.select(watched, [], [], _REST_S if resting else 0)
            if self._wake in ready:
                return
            if self._reset.is_set():
                self._reset.clear()
                board.reset()
            asked = self._take() if self._master in ready else b""
            if self._users.have_all_gone():
                asked = backlog = b""  # who is there by now asks again
                board.drop()
                if not self._users.now:  # from a next user, who may be reading already, nothing is taken away
                    termios.tcflush(self._slave, termios.TCIFLUSH)  # answers that nobody has read
            if self._users.now:  # otherwise who asked is gone
                board.send(asked)
            board.run(_SLICE)
            backlog = (backlog + board.receive())[:_BACKLOG]
            if backlog:
                try:
                    backlog = backlog[os.write(self._master, backlog) :]
                except BlockingIOError:
                    pass

    def _take(self) -> bytes:
        """All that programs have written."""
        taken = b""
        while True:
            try:
                taken += os.read(self._master, 1 << 16)
            except BlockingIOError:
                return taken
