"""timm's own tests/test_models.py, from timm's source distribution, in a process where timm lists our models alone."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ran:
    """The outcomes of timm's tests.

    Attributes:
        outcomes: test function → model → 'passed', or what went wrong.
        left_out: test function → reason.
    """

    outcomes: dict[str, dict[str, str]]
    left_out: dict[str, str]


def find_tests(cache: Path) -> Path:
    """timm's test_models.py of the installed version, downloaded once by pip; without a registry this fails."""
    version = importlib.metadata.version("timm")
    folder = cache / f"timm-{version}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as name:
            beside = Path(name)
            only_source = ("--quiet", "--no-deps", "--no-binary", "timm", "--dest", name)
            command = (sys.executable, "-m", "pip", "download", *only_source, f"timm=={version}")
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(
                    f"pip could not download timm's tests, so nothing was tested:\n{done.stderr[-1500:]}", False
                )
            with tarfile.open(beside / f"timm-{version}.tar.gz") as archive:
                # Not timm itself: the installed one is tested.
                inside = [each for each in archive if Path(each.name).parts[1:2] in (("tests",), ("pyproject.toml",))]
                archive.extractall(beside, members=inside, filter="data")
            (beside / folder.name).rename(folder)
    return folder / "tests" / "test_models.py"


def run(tests: Path, models: Sequence[str], report: Path) -> Ran:
    """Run timm's tests on some models, in a process of its own that writes `report`."""
    # timm leaves tests out on GitHub, and changes timeouts and devices by these.
    dropped = ("GITHUB_ACTIONS", "TIMEOUT", "TORCH_DEVICE", "TORCH_BACKEND", "PYTEST_ADDOPTS")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"TIMM_CONTRACT_MODELS": ",".join(models), "TIMM_CONTRACT_REPORT": str(report)}
    environment |= {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    plugins = ("-p", "timm_narrowing", "-p", "no:cacheprovider", "--timeout=0")
    command = (sys.executable, "-m", "pytest", *plugins, "-q", "--tb=short", str(tests))
    done = subprocess.run(
        command, cwd=tests.parent.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert report.is_file(), f"timm's tests did not run at all:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    content = json.loads(report.read_text(encoding="utf-8"))
    return Ran(content["ran"], content["left_out"])
