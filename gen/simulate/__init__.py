# SPDX-License-Identifier: Apache-2.0
"""A generated accelerator on the fast simulator: results, cycles, who was busy when."""
