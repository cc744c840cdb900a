"""The pages for contributors name files that exist, and docs/structure.py draws what a package imports."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "docs" / "structure.py"
FILES = {
    "__init__.py": "from tiny.top import unseen\n",
    "top.py": "import tiny.middle.inner\nfrom tiny import errors, middle\n",
    "middle/__init__.py": "",
    "middle/inner.py": "def later():\n    from ..names import parse\n",
    "names.py": (
        "from typing import TYPE_CHECKING\nfrom tiny.errors import Wrong\nif TYPE_CHECKING:\n    import tiny.top\n"
    ),
    "errors.py": "import json\n",
}


def write_package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / "tiny" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder / "tiny"


def draw(package: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--package", str(package), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


@dataclass(frozen=True)
class Drawn:
    """What the script printed of a package, and its picture."""

    lines: list[str]
    svg: bytes


def draw_files(folder: Path, files: dict[str, str]) -> Drawn:
    done = draw(write_package(folder, files), folder / "structure.svg")
    assert done.returncode == 0, done.stderr
    return Drawn(done.stdout.splitlines(), (folder / "structure.svg").read_bytes())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw_files(tmp_path_factory.mktemp("drawn"), FILES)


@pytest.mark.parametrize(("page", "least"), [("docs/architecture.md", 40), ("CONTRIBUTING.md", 4)])
def test_every_file_that_a_page_names_exists(page: str, least: int) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:zoo|benchmarks|plugins|tests|docs)/[\w./-]*)`", text))
    named |= {f"{module.replace('.', '/')}.py" for module in re.findall(r"python -m (zoo(?:\.\w+)+)", text)}
    named |= set(re.findall(r"(?:tests|docs)/[\w/]+\.py", text))
    assert len(named) >= least
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_modules_stay_few_and_short_and_files_are_replaced_in_two_places() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "zoo").rglob("*.py"))}
    assert len([path for path in texts if path.parent.name == "zoo"]) <= 12
    assert [str(path) for path, text in texts.items() if text.count("\n") > 400] == []
    replacing = re.compile(r"os\.replace|\.rename\(|\.replace\(path")
    assert {path.name for path, text in texts.items() if replacing.search(text)} == {"files.py", "hub_cache.py"}


def test_every_folder_of_the_package_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (ROOT / "zoo").glob("*/*.py")}
    assert sorted(name for name in folders if f"`zoo/{name}/`" not in text) == []


def test_who_imports_whom_is_counted(drawn: Drawn) -> None:
    # What is under TYPE_CHECKING, in the package's own face, or of another package, is not an import between parts.
    assert drawn.lines == ["middle → names 1", "names → errors 1", "top → errors 1", "top → middle 2"]


def test_a_part_is_drawn_above_what_it_imports(drawn: Drawn) -> None:
    places = re.findall(r'<text [^>]* y="([-\d.]+)"[^>]*>(\w+)</text>', drawn.svg.decode())
    height = {part: float(y) for y, part in places}
    assert height["top"] < height["middle"] < height["names"] < height["errors"]  # SVG counts downwards


def test_the_same_files_give_the_same_picture(drawn: Drawn, tmp_path: Path) -> None:
    assert draw_files(tmp_path, FILES).svg == drawn.svg


def test_an_import_in_a_function_is_dashed_and_a_cycle_is_red(drawn: Drawn, tmp_path: Path) -> None:
    assert b"stroke-dasharray" in drawn.svg  # middle imports names
    assert b"#b22222" not in drawn.svg
    circular = draw_files(tmp_path, FILES | {"errors.py": "import tiny.names\n", "middle/inner.py": ""})
    assert "errors → names 1" in circular.lines
    assert b"stroke-dasharray" not in circular.svg
    assert b"#b22222" in circular.svg


def test_a_folder_without_parts_is_refused(tmp_path: Path) -> None:
    done = draw(tmp_path, tmp_path / "structure.svg")
    assert done.returncode == 2
    assert "name the folder of a package" in done.stderr
    assert not (tmp_path / "structure.svg").exists()
