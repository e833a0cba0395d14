# SPDX-License-Identifier: Apache-2.0
"""The NumPy golden model, the fast simulator, and the cocotb testbenches with their helpers."""
