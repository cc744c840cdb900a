"""The documentation: every line of its guides runs, links lead somewhere, Sphinx builds it without a warning."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.fixtures import hub
from tests.hub.loopback import LoopbackHub

__all__ = ["hub"]

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = sorted(DOCS.glob("guides/*.md"))
QUICK = ("plugin",)
"""Guides that the default run tries; the others take longer."""

FENCE = re.compile(r"^```(\{?[\w-]+\}?)[^\n]*\n(.*?)^```$", re.M | re.S)
RUNNER = """
import subprocess, sys
names = {"__name__": "__main__"}
for language, text in BLOCKS:
    if language == "python":
        exec(compile(text, "guide", "exec"), names)
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
    sys.stdout.flush()
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block, in order."""
    return [(found[1], found[2]) for found in FENCE.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_is_python_and_commands(guide: Path) -> None:
    languages = [language for language, _ in blocks(guide)]
    assert {"python", "bash"} & set(languages)
    assert set(languages) <= {"python", "py", "bash", "text"}
    for language, text in blocks(guide):
        if language == "python":
            ast.parse(text)


@pytest.mark.parametrize(
    "guide",
    [pytest.param(guide, marks=() if guide.stem in QUICK else pytest.mark.slow, id=guide.stem) for guide in GUIDES],
)
@pytest.mark.timeout(900)  # on a machine that does much else
def test_every_line_of_a_guide_runs(guide: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    """In one process, in an empty folder, in order. `text` is not run, and `py` is run by a test of its own."""
    run = [(language, text) for language, text in blocks(guide) if language in ("python", "bash")]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_TOKEN": hub.add_token("me"),
        "OMP_NUM_THREADS": "1",
    }
    folder = tmp_path / "reader"
    folder.mkdir()
    command = [sys.executable, "-c", f"BLOCKS = {run!r}\n{RUNNER}"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=840, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link


def test_every_page_is_in_the_contents() -> None:
    listed = {
        line
        for body in re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.S)
        for line in body.splitlines()
        if line and not line.startswith(":")
    }
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"index"}
    assert listed == pages


def test_the_page_about_neurons_shows_what_its_code_prints() -> None:
    page = blocks(DOCS / "concepts" / "neurons.md")
    (shown,) = (text for language, text in page if language == "text")
    code = "\n".join(text for language, text in page if language == "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == shown


def test_the_tables_of_the_paper_are_in_one_file() -> None:
    text = (DOCS / "paper.md").read_text(encoding="utf-8")
    assert all(f"{{{{ {table} }}}}" in text for table in ("table1", "table1_baselines", "table2", "table3"))


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    paper = (tmp_path / "out" / "paper.html").read_text(encoding="utf-8")
    assert all(figure in paper for figure in ("81.58", "49.70", "40.79", "5.226G", "25.6M"))
    api = (tmp_path / "out" / "api.html").read_text(encoding="utf-8")
    assert 'id="zoo.create_model"' in api
    assert 'href="weights/index.html"' in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "has8_resnet_b8_m2_d4_ste_bpd.cifar10" in (tmp_path / "out" / "weights" / "index.html").read_text("utf-8")
