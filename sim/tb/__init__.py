# SPDX-License-Identifier: Apache-2.0
"""cocotb testbenches, one a component; each is run by the test of the same name in tests/."""
