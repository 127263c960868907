"""Settings of Sphinx: ``make docs`` builds ``docs/_build/html`` without a warning."""

import logging
import sys
from importlib.metadata import version as version_of
from pathlib import Path

# The theme loads a style of Pygments that prints the log of every package, unless the
# root logger has a handler.
logging.getLogger().addHandler(logging.NullHandler())

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

# SpeechBrain reports its settings at each import.
logging.getLogger("speechbrain").setLevel(logging.WARNING)

project = "lmac-td"
author = "the lmac-td authors"
release = version_of("lmac-td")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "docstrings",
    "generated_pages",
    "navigation",
]
exclude_patterns = ["_build", "generated"]
templates_path = ["_templates"]

# Markdown. Anchors are those of GitHub, so that links work in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]

# The API reference: a page a module, from the docstrings.
autosummary_generate = True
autosummary_ignore_module_all = True
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,
}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False

# Prompts are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "lmac-td"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
