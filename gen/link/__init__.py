# SPDX-License-Identifier: Apache-2.0
"""The host's side of the link: frames, transports, and :class:`gen.link.device.Device`."""
