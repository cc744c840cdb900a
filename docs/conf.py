"""Sphinx's settings for the documentation: `sphinx-build -W docs build/docs`."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
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
nb_merge_streams = True  # one box for what a cell prints
suppress_warnings = ["myst.xref_missing", "ref.python"]
"""Pages link to files of the repository too, which are not pages; tests/test_repository.py looks for those."""

autodoc_inherit_docstrings = False  # a method is described where it is defined
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of a class, which autodoc lists too

DOCS = Path(__file__).parent
PLUGINS = DOCS.parent / "plugins"
COPIES = {
    PLUGINS / "README.md": DOCS / "plugins" / "index.md",
    PLUGINS / "CONTRACT.md": DOCS / "plugins" / "contract.md",
    **{readme: DOCS / "plugins" / f"{readme.parent.name}.md" for readme in sorted(PLUGINS.glob("*/README.md"))},
}
"""Pages of plugins/ and where Sphinx finds them."""


def write_commands(app: Sphinx) -> None:
    """Write docs/reference/commands.md, which git ignores, from the help of every command."""
    arguments = ["-m", "typer", "zoo.cli", "utils", "docs", "--name", "zoo", "--title", "Command line"]
    written = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout
    page = re.sub(r"^\* `--(install|show)-completion.*\n", "", html.unescape(written), flags=re.MULTILINE)
    page = re.sub(r"^(Example|Start with): (.+)$", r"\1: `\2`", page, flags=re.MULTILINE)
    whole = dict(re.findall(r"^#+ `zoo (?:plugins )?(\w+)`\n\n(.+)", page, flags=re.MULTILINE))
    page = re.sub(r"^(\* `(\w+)`: ).*\.\.\.$", lambda line: line[1] + whole[line[2]], page, flags=re.MULTILINE)
    (Path(app.srcdir) / "reference" / "commands.md").write_text(page, encoding="utf-8")


def add_weights(app: Sphinx, exception: Exception | None) -> None:
    """The pages of `zoo site`, of every installed weight, in the folder `weights` beside the documentation's."""
    if exception is None and app.builder.format == "html":
        folder = Path(app.outdir) / "weights"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
        build_site().write(folder)


def turn_links(text: str, source: Path, page: Path) -> str:
    """Turn links of a file, read from another folder: pages of plugins/ are here, other files are downloads."""

    def turn(link: re.Match[str]) -> str:
        target = (source.parent / link[1]).resolve()
        target = DOCS / "index.md" if target == DOCS.parent / "README.md" else COPIES.get(target, target)
        is_page = target.suffix != ".md" or target.is_relative_to(DOCS)
        where = os.path.relpath(target, page.parent)
        return f"]({where}" if is_page and target.exists() else f"](path:{where}" if target.is_file() else link[0]

    return re.sub(r"\]\((?!\w+:|#)([^)#\s]+)", turn, text)


def write_plugins(app: Sphinx) -> None:
    """Write docs/plugins/, which git ignores: the index, the contract and the READMEs of the plugins."""
    shutil.rmtree(DOCS / "plugins", ignore_errors=True)
    (DOCS / "plugins").mkdir()
    for page in COPIES.values():
        page.touch()  # links between them are turned if they exist
    for source, page in COPIES.items():
        page.write_text(turn_links(source.read_text("utf-8"), source, page), encoding="utf-8")
    with (DOCS / "plugins" / "index.md").open("a", encoding="utf-8") as index:
        index.write("\n```{toctree}\n:hidden:\n:glob:\n\ncontract\nzoo-*\n```\n")


def read_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Turn the links of a page of docs/ to pages of plugins/."""
    page = Path(app.env.doc2path(name))
    if page.suffix == ".md" and page not in COPIES.values():
        content[0] = turn_links(content[0], page, page)


def set_dashes(app: Sphinx, tree: nodes.document) -> None:
    """Set the dashes that autodoc writes as `--` between an argument and its description."""
    for text in list(tree.findall(nodes.Text)):
        if " -- " in text and not isinstance(text.parent, nodes.literal | nodes.literal_block):
            text.parent.replace(text, nodes.Text(text.replace(" -- ", " – ")))


def setup(app: Sphinx) -> None:
    """Register what runs before, during and after the build."""
    app.connect("builder-inited", write_commands)
    app.connect("builder-inited", write_plugins)
    app.connect("source-read", read_page)
    app.connect("doctree-read", set_dashes)
    app.connect("build-finished", add_weights)
