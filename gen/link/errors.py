# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between host and board, by name; the command line shows each as one line, with exit status 2."""

from __future__ import annotations

from gen.errors import InputError

__all__ = [
    "BoardReset", "CoreRefused", "CoreStalled", "LinkError", "LoadFailed", "NoAnswer", "NotABoard", "PortAbsent",
    "PortBusy", "PortLost", "Refused", "SelfTestFailed", "WrongBoard",
]  # fmt: skip


class LinkError(InputError):
    """The base of them all."""


class PortAbsent(LinkError):
    """There is no such port."""


class PortBusy(LinkError):
    """Another program uses the port, or we may not."""


class PortLost(LinkError):
    """The port was there and has gone: a cable was pulled, say."""


class NoAnswer(LinkError):
    """Nothing, or nothing that makes sense, came back in time, however often the request was repeated."""


class NotABoard(LinkError):
    """Something answered, but it is no rtlformer core, or one of another version."""


class WrongBoard(LinkError):
    """The core on the board has another configuration than the model was compiled for."""


class BoardReset(LinkError):
    """The board has been reset, or another host has taken it over, again and again."""


class CoreRefused(LinkError):
    """The core refused something that it was sent: ERRORS, one of its registers, says what."""


class LoadFailed(LinkError):
    """What the core took to its memories is not what was sent: LOAD_CRC, one of its registers, says so."""


class CoreStalled(LinkError):
    """The link works, but the core takes no input or gives no result."""


class Refused(LinkError):
    """The board refused a request that should be right."""


class SelfTestFailed(LinkError):
    """What came back is not what had to."""
