# SPDX-License-Identifier: Apache-2.0
"""Sphinx's configuration of the site that docs/build.py makes."""

import importlib.metadata

project = "rtlformer"
release = importlib.metadata.version("rtlformer")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
suppress_warnings = ["ref.python"]  # the shape of a port is text: a word of it is no reference to a class
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px"}
html_copy_source = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Ports", "params_style"), ("Members", "params_style")]
