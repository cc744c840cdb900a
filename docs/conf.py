"""Sphinx's settings for the documentation: `sphinx-build -W docs build/docs`."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from zoo_site.build import build_site

import zoo

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
TABLES = yaml.safe_load((ROOT / "tests" / "paper" / "tables.yaml").read_text(encoding="utf-8"))

project = "has8-zoo"
version = release = zoo.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build"]

default_role = "code"  # docstrings write names of code between single backticks

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_title = f"has8-zoo {release}"

myst_enable_extensions = ["colon_fence", "dollarmath", "substitution"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]
"""Pages link to files of the repository too, which are not pages; tests/test_repository.py looks for those."""

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes of a class, which autodoc lists too


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join("–" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def _first() -> str:
    """Table 1: every coding of two networks."""
    table = TABLES["table1_cifar10"]
    rows = [
        [f"`{size}`", scaling, decoder, *by_encoder.values()]
        for size in (name for name in table if name != "baselines")
        for scaling in ("unscaled", "scaled")
        for decoder, by_encoder in table[size][scaling].items()
    ]
    return _table(["network", "gradient", "decoder", "sigmoid", "tanh", "fourier"], rows)


myst_substitutions = {
    "table1": _first(),
    "table1_baselines": _table(
        ["network", "CIFAR-10"], [[f"`{name}`", top1] for name, top1 in TABLES["table1_cifar10"]["baselines"].items()]
    ),
    "table2": _table(
        ["network", "CIFAR-10", "CIFAR-100", "Caltech-101", "Caltech-256", "ImageNet"],
        [[f"`{name}`", *columns] for name, columns in TABLES["table2_top1"].items()],
    ),
    "table3": _table(
        ["network", "parameters", "MACs of one timestep", "the same, counted", "MACs of all timesteps, counted"],
        [
            [
                f"`{name}`",
                printed["params"],
                printed["macs"],
                f"{TABLES['measured_on_the_published_code']['fvcore_per_timestep_gmacs'][name]}G",
                f"{total}G"
                if (total := TABLES["measured_on_the_published_code"]["fvcore_total_gmacs"].get(name))
                else None,
            ]
            for name, printed in TABLES["table3_cost"].items()
        ],
    ),
}
"""Tables that pages name in double braces, made of the one file that holds the paper's figures."""


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
