# SPDX-License-Identifier: Apache-2.0
"""The ladder from golden to the board: what is run on each rung, and what it is compared with."""
