# SPDX-License-Identifier: Apache-2.0
"""Board tops: clocks, host link, external memory, programmer."""
