# SPDX-License-Identifier: Apache-2.0
"""``python -m gen`` is ``rtlformer``."""

from gen.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
