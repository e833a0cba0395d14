# SPDX-License-Identifier: Apache-2.0
"""Commands of ``rtlformer`` that know boards, found through the entry points of group ``rtlformer.commands``."""
