# SPDX-License-Identifier: Apache-2.0
"""From a quantised model to a program and the contents of a core's memories."""
