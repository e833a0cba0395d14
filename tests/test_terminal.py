# SPDX-License-Identifier: Apache-2.0
"""A simulated board's terminal, on a board that does nothing but count and stop."""

import os
import termios
import threading
import tty

import pytest

from sim.board.terminal import Terminal


class StillBoard:
    """Takes bytes and answers none; each run waits until it is let go."""

    def __init__(self):
        self.quiet, self.sent, self.drops = 0, b"", 0
        self.arrived, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.free = False

    def run(self, cycles: int) -> None:
        if not self.free:
            self.arrived.release()
            self.go.acquire()

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self) -> bytes:
        return b""

    def drop(self) -> None:
        self.drops += 1

    def close(self) -> None:
        pass

    def turn(self) -> None:
        """Let the terminal go round once."""
        self.go.release()
        self.arrived.acquire()

    def release(self) -> None:
        self.free = True
        self.go.release()


def opened(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(descriptor, termios.TCSANOW)
    return descriptor


@pytest.fixture
def terminal():
    board = StillBoard()
    with Terminal(board) as terminal:
        board.arrived.acquire()
        yield terminal
        board.release()


def test_answers_end_with_who_asked(terminal):
    """What the last user did not read is gone before the next one comes."""
    user = opened(terminal.path)
    terminal.board.turn()
    os.write(terminal._master, b"late")
    os.close(user)
    terminal.board.turn()
    assert terminal.board.drops == 1
    user = opened(terminal.path)
    with pytest.raises(BlockingIOError):
        os.read(user, 10)
    os.close(user)


def test_a_next_user_keeps_what_it_reads(terminal):
    """The board sees late that a user went, when the next one is there: nothing is taken from under its eyes.

    A reader that was told of bytes and finds none takes the port for lost.
    """
    user = opened(terminal.path)
    terminal.board.turn()
    os.close(user)
    user = opened(terminal.path)
    os.write(terminal._master, b"late")
    terminal.board.turn()
    assert terminal.board.drops == 1
    assert os.read(user, 10) == b"late"
    os.close(user)


def test_what_the_last_user_asked_is_not_the_next_one_s(terminal):
    """It came, asked and went while the board was busy, and the next one is there: its questions are dropped."""
    user = opened(terminal.path)
    os.write(user, b"asked")
    os.close(user)
    user = opened(terminal.path)
    terminal.board.turn()
    assert terminal.board.sent == b""
    os.write(user, b"mine")
    terminal.board.turn()
    assert terminal.board.sent == b"mine"
    os.close(user)
