# SPDX-License-Identifier: Apache-2.0
"""The error for everything a user can put right."""

from __future__ import annotations

from gen.text import one_line


class InputError(ValueError):
    """Bad input: a file, an option or a model that cannot be used.

    The message is one line, without a final full stop, that names the thing, the reason and the way out, as in
    ``config.json: model_type is "gpt2", which is not supported; use a "vit" or "bert" encoder``. The command line
    prints it and exits with status 2.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message).strip())


def brief(error: object, most: int = 160) -> str:
    """What a foreign error or value says, at most ``most`` characters of it: some quote the whole file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"
