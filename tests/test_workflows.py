"""The repository's own files for machines: workflows with least permissions, hooks, and the citation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"\./\.github/workflows/\w+\.yml|actions/[a-z-]+@v\d+|pypa/gh-action-pypi-publish@release/v1")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def release_step(name: str) -> str:
    steps = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["build"]["steps"]
    (step,) = (step for step in steps if step.get("name") == name)
    return str(step["run"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_no_more(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.stem == "release" else {})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_jobs_end(path: Path) -> None:
    for job in read(path)["jobs"].values():
        uses = [step["uses"] for step in job.get("steps", ()) if "uses" in step]
        uses += [job["uses"]] if "uses" in job else []
        assert [action for action in uses if not PINNED.fullmatch(action)] == []
        assert "uses" in job or job["timeout-minutes"] <= 240


def test_the_job_that_may_publish_runs_no_code_of_the_repository() -> None:
    publish = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["publish"]
    assert set(publish["needs"]) == {"tests", "build"}
    assert [key for step in publish["steps"] for key in step if key not in ("uses", "with")] == []
    assert not any("checkout" in step["uses"] for step in publish["steps"])


@pytest.mark.parametrize(
    ("tag", "status"), [(f"v{zoo.__version__}", 0), ("v9.9.9", 1), (zoo.__version__, 1), (f"v{zoo.__version__}.1", 1)]
)
def test_a_release_needs_the_tag_of_its_version(tag: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    script = release_step("The tag must be the version")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_REF_NAME": tag}
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert status == 0 or f"the tag is {tag}, but zoo/__init__.py says {zoo.__version__}" in done.stdout


def test_every_hook_has_its_reason() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    hooks = [hook["id"] for repo in read(path)["repos"] for hook in repo["hooks"]]
    assert {"ruff-check", "ruff-format", "mypy"} < set(hooks)
    lines = path.read_text(encoding="utf-8").splitlines()
    reasons = {line.split()[2]: "#" in line for line in lines if line.lstrip().startswith("- id:")}
    assert reasons == dict.fromkeys(hooks, True)


def test_the_citation_names_the_paper_and_its_authors() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert (citation["cff-version"], citation["type"], citation["title"]) == ("1.2.0", "software", "has8-zoo")
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Luu", "Luu", "Pham", "Truong"]
    assert paper["year"] == 2025
    assert "2509.24411" in paper["url"]
    title = f"*{paper['title']}*"  # the same wherever it is named
    assert all(title in (ROOT / path).read_text(encoding="utf-8") for path in ("README.md", "zoo/families/has8.py"))
