"""What surrounds the code: the notebook, the container, and where the package says that it is from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import mutations

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorials" / "first_half_hour.ipynb"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def cells(kind: str) -> list[str]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def test_the_notebook_compiles_and_shows_what_it_prints() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", ())]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    for source in cells("code"):
        compile(source, str(NOTEBOOK), "exec")


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    environment = os.environ | {"MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(cells("code"))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout


def test_the_container_runs_the_commands_of_the_readme() -> None:
    readme, dockerfile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Dockerfile"))
    commands = re.findall(r"\.venv/bin/pip install [^&`\n]*[^&`\s]", readme)
    assert len(commands) == 2
    assert [command for command in commands if f"RUN {command}\n" not in dockerfile] == []
    assert "FROM python:3.11-slim" in dockerfile


def test_one_file_lists_what_all_test_commands_install() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile", ".github/workflows/tests.yml")]
    assert all("pip install" in text and "-r requirements-test.txt" in text for text in map(Path.read_text, pages))
    installed = set(re.findall(r"^-e plugins/([\w-]+)", (ROOT / "requirements-test.txt").read_text(), re.M))
    tested = PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"]
    assert {Path(folder).parts[1] for folder in tested if folder.startswith("plugins/")} <= installed


def test_the_address_of_the_repository_is_stated_once() -> None:
    project = PYPROJECT["project"]
    addresses = project["urls"]
    assert {"Homepage", "Source", "Issues", "Documentation"} <= addresses.keys()
    source = addresses["Source"]
    assert all(addresses[label].startswith(source) for label in ("Homepage", "Issues", "Documentation"))
    versions = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    tested = versions["jobs"]["default"]["strategy"]["matrix"]["python"]
    assert {f"Programming Language :: Python :: {version}" for version in tested} <= set(project["classifiers"])
    assert all(author["name"] for author in project["authors"])


def test_the_line_of_every_seeded_fault_is_there() -> None:
    assert [fault for fault in mutations.read_faults() if mutations.source(fault) is None] == []
