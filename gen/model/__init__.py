# SPDX-License-Identifier: Apache-2.0
"""From a trained float checkpoint to the integers of a quantised model."""
