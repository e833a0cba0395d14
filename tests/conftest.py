# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

import signal

import hypothesis

# The same examples in every run: a failure seen once is seen again.
hypothesis.settings.register_profile("rtlformer", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("rtlformer")

# Shells start background jobs deaf to interrupts, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
