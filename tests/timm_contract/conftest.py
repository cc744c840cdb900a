"""timm's test file, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.timm_contract.timm_file import Ran, find_tests, run


@pytest.fixture(scope="session")
def timm_tests(request: pytest.FixtureRequest) -> Path:
    """timm's test_models.py, kept in pytest's cache folder."""
    assert request.config.cache is not None
    return find_tests(request.config.cache.mkdir("timm-tests"))


@pytest.fixture(scope="session")
def run_timms_tests(timm_tests: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Ran]:
    """Runs timm's tests on some models."""

    def on(models: Sequence[str]) -> Ran:
        return run(timm_tests, models, tmp_path_factory.mktemp("timm") / "report.json")

    return on
