"""Pages and files for machines: links lead somewhere, guides run, Sphinx builds, workflows have least permissions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from zoo_kit.hub import hub
from zoo_kit.loopback import LoopbackHub

import zoo

__all__ = ["hub"]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DOC_PAGES = [page for page in DOCS.rglob("*.md") if page.parent != DOCS / "plugins"]
"""But the copies of plugins/ that Sphinx writes."""
PAGES = [*ROOT.glob("*.md"), *DOC_PAGES, *ROOT.glob("plugins/*.md"), *ROOT.glob("plugins/*/README.md")]
TUTORIALS = [DOCS / "tutorials" / f"{name}.md" for name in ("photographs", "count-your-own")]
GUIDES = [*sorted(DOCS.glob("guides/*.md")), *TUTORIALS]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = re.compile(r"\./\.github/workflows/\w+\.yml|[\w-]+/[\w/-]+@(v[\d.]+|release/v1|[0-9a-f]{40})")
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


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block, in order."""
    return [(found[1], found[2]) for found in FENCE.finditer(read(page))]


# Pages ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#]+)(?:#[^)]*)?\)", FENCE.sub("", read(page)))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "page", [DOCS / "contributing" / "architecture.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`((?:zoo|benchmarks|plugins|tests|docs|tools)/[\w./-]*)`", read(page)))
    modules = re.findall(r"python -m ((?:zoo|tools|benchmarks)[\w.]*)", read(page))
    named |= {name.replace(".", "/") for name in modules}
    there = [path for path in named if (ROOT / path).exists() or (ROOT / f"{path}.py").exists()]
    assert sorted(named - set(there)) == []


def test_every_part_of_the_package_is_in_the_architecture() -> None:
    folders = {path.parent.name for path in (ROOT / "zoo").glob("*/*.py")}
    assert (
        sorted(name for name in folders if f"`zoo/{name}/`" not in read(DOCS / "contributing" / "architecture.md"))
        == []
    )


def test_every_page_is_in_the_contents() -> None:
    """Two of them are written when the documentation is built."""
    contents = re.findall(r"```\{toctree\}\n(.*?)```", read(DOCS / "index.md"), re.S)
    listed = {line for body in contents for line in body.splitlines() if line and not line.startswith(":")}
    files = [*DOC_PAGES, *DOCS.rglob("*.ipynb")]
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in files}
    assert listed == pages - {"index"} | {"plugins/index", "reference/commands"}


def test_a_page_of_many_words_of_the_glossary_links_to_it() -> None:
    entries = re.findall(r"^\| ([^|]+) \|", read(DOCS / "reference" / "glossary.md"), re.M)[2:]
    words = [re.escape(word) for entry in entries for word in entry.split(", ")]
    used = {
        page: {word for word in words if re.search(rf"\b{word}s?\b", read(page))}
        for page in [*PAGES, *DOCS.rglob("*.ipynb")]
        if page.is_relative_to(DOCS) and page.stem not in ("glossary", "commands")
    }
    assert [page.name for page, found in used.items() if len(found) >= 5 and "glossary" not in read(page)] == []


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
@pytest.mark.timeout(900)  # on a machine that does much else
def test_every_line_of_a_guide_runs(guide: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    """In one process, in an empty folder, in order; `text` is not run."""
    assert {language for language, _ in blocks(guide)} <= {"python", "bash", "text"}
    run = [(language, text) for language, text in blocks(guide) if language in ("python", "bash")]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_TOKEN": hub.add_token("me"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", f"BLOCKS = {run!r}\n{RUNNER}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=840)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_example_for_timm_trains(tmp_path: Path) -> None:
    for label, level in (("dark", 30), ("bright", 200)):
        (tmp_path / label).mkdir()
        for number in range(4):
            Image.new("RGB", (32, 32), (level + number,) * 3).save(tmp_path / label / f"{number}.png")
    command = [sys.executable, str(DOCS / "examples" / "timm_train.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert len(re.findall(r"loss \d", done.stdout)) == 2


@pytest.mark.slow
def test_the_page_about_neurons_shows_what_its_code_prints() -> None:
    page = blocks(DOCS / "concepts" / "neurons.md")
    (shown,) = (text for language, text in page if language == "text")
    code = "\n".join(text for language, text in page if language == "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == shown


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(DOCS), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(
        figure in read(tmp_path / "out" / "reference" / "paper.html") for figure in ("81.58", "49.70", "40.79", "25.6M")
    )
    assert 'id="zoo.create_model"' in read(tmp_path / "out" / "reference" / "api.html")
    assert "../plugins/contract.html" in read(tmp_path / "out" / "tutorials" / "neuron.html")


@pytest.mark.slow
def test_the_pictures_of_the_model_are_drawn_from_it(tmp_path: Path) -> None:
    command = [sys.executable, str(DOCS / "draw_model.py"), "--out", str(tmp_path)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("block.svg", "rivals.svg", "neuron.svg", "sparkle.svg", "counted.svg", "planes.svg"):
        drawn, shown = (re.sub(r'href="[^"]+"', "", read(folder / name)) for folder in (tmp_path, DOCS / "pictures"))
        assert drawn == shown, "python docs/draw_model.py"


# The README -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_python_of_the_readme_runs_in_one_go() -> None:
    code = "\n".join(text for language, text in blocks(ROOT / "README.md") if language == "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_page_asks_an_index_for_a_distribution_that_is_not_released() -> None:
    for page in (ROOT / "README.md", *DOC_PAGES, *ROOT.glob("plugins/*/README.md")):
        asked = re.findall(r"pip install '?((?:has8-zoo|zoo-)[\w-]*)", page.read_text(encoding="utf-8"))
        assert asked == [], page


# Plugins --------------------------------------------------------------------------------------------------------------

PUBLIC = {"zoo", *(f"zoo.{part}" for part in ("blocks", "commands", "contracts", "data", "errors", "names", "timm"))}
PARTS = {"zoo-kit", "zoo-site"}
"""They look into the zoo: one tests components, one draws pages of checkpoints."""
SOURCES = [file for file in ROOT.glob("plugins/*/zoo_*/**/*.py") if file.relative_to(ROOT).parts[1] not in PARTS]
TEMPLATES = (ROOT / "plugins" / "zoo-kit" / "zoo_kit" / "scaffold" / "templates").rglob("*.jinja")


@pytest.mark.parametrize("file", sorted([*SOURCES, *TEMPLATES]), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_plugins_import_what_is_public(file: Path) -> None:
    modules = re.findall(r"^\s*(?:from|import) (zoo[\w.]*)", read(file), re.M)
    assert {name for name in modules if not name.startswith("zoo_")} <= PUBLIC | {"zoo.commands.models"}


# Files for machines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_no_more_and_ends(path: Path) -> None:
    workflow: Any = yaml.safe_load(read(path))
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.stem.startswith("release") else {})
    for job in workflow["jobs"].values():
        uses = [step["uses"] for step in job.get("steps", ()) if "uses" in step]
        uses += [job["uses"]] if "uses" in job else []
        assert [action for action in uses if not ACTION.fullmatch(action)] == []
        assert "uses" in job or job["timeout-minutes"] <= 240


@pytest.mark.parametrize("name", ["release.yml", "release-plugin.yml"])
def test_the_job_that_may_publish_runs_no_code_of_the_repository(name: str) -> None:
    publish = yaml.safe_load(read(ROOT / ".github" / "workflows" / name))["jobs"]["publish"]
    assert [key for step in publish["steps"] for key in step if key not in ("uses", "with")] == []
    assert not any("checkout" in step["uses"] for step in publish["steps"])


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    paper = citation["preferred-citation"]
    assert citation["version"] == zoo.__version__
    released = f"## {zoo.__version__} (unreleased)" not in read(ROOT / "CHANGELOG.md")
    assert ("date-released" in citation) == released
    assert "2509.24411" in paper["url"]
    assert all(f"*{paper['title']}*" in read(ROOT / path) for path in ("README.md", "zoo/families/has8.py"))
