"""How these pages are built: ``sphinx-build -W docs docs/_build``."""

import re
from pathlib import Path

from locreg.version import __version__

project = "locreg"
author = "the locreg authors"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# paper/results.md holds its parts, which lie beside it
exclude_patterns = ["_build", "paper/fig*.md", "paper/table*.md"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"secondary_sidebar_items": ["page-toc"], "show_prev_next": False}
html_show_sourcelink = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
sphinx_gallery_conf = {
    "examples_dirs": str(Path(__file__).parents[1] / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"make_pictures",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
}


def _plain_text(_app, _what, _name, _object, _options, lines):
    """Docstrings hold equations as plain text: | and * there are no markup."""
    for index, line in enumerate(lines):
        parts = re.split(r"(``.+?``)", line)  # what stands between double backticks stays
        lines[index] = "".join(
            part if part.startswith("``") else re.sub(r"(?<!\\)[|*]", r"\\\g<0>", part)
            for part in parts
        )


def setup(app):
    """Before napoleon sees a docstring."""
    app.connect("autodoc-process-docstring", _plain_text, priority=100)
