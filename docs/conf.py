"""Sphinx's settings for the documentation: `sphinx-build -W docs build/docs`."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_site.build import build_site

import zoo

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "has8-zoo"
version = release = zoo.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build"]

smartquotes = False  # an option is --data, and no dash
default_role = "code"  # docstrings write names of code between single backticks

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_show_copyright = False
html_title = f"has8-zoo {release}"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebook keeps its outputs; a test runs it
suppress_warnings = ["myst.xref_missing", "ref.python"]
"""Pages link to files of the repository too, which are not pages; tests/test_repository.py looks for those."""

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of a class, which autodoc lists too


def write_commands(app: Sphinx) -> None:
    """Write docs/reference/commands.md, which git ignores, from the help of every command."""
    arguments = ["-m", "typer", "zoo.cli", "utils", "docs", "--name", "zoo", "--title", "Command line"]
    written = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout
    page = re.sub(r"^\* `--(install|show)-completion.*\n", "", html.unescape(written), flags=re.MULTILINE)
    (Path(app.srcdir) / "reference" / "commands.md").write_text(page, encoding="utf-8")


def add_weights(app: Sphinx, exception: Exception | None) -> None:
    """The pages of `zoo site`, of every installed weight, in the folder `weights` beside the documentation's."""
    if exception is None and app.builder.format == "html":
        folder = Path(app.outdir) / "weights"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
        build_site().write(folder)


def setup(app: Sphinx) -> None:
    """Register what runs before and after the build."""
    app.connect("builder-inited", write_commands)
    app.connect("build-finished", add_weights)
