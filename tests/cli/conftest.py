"""A catalog with a weight of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo
from tests.cli.commands import LABELS, TINY
from zoo.catalog import files as catalog
from zoo.publishing.saving import ModelFolder, folder_of
from zoo.weights.load import write_config

STATED: dict[str, Any] = {
    "license": "MIT",
    "dataset": "noise",
    "dataset_license": "CC0-1.0",
    "dataset_attribution": "its makers",
    "seed": 7,
    "metrics": {"top1": 12.345, "top5": 50.0},
}


@pytest.fixture(scope="session")
def tiny() -> ModelFolder:
    return folder_of(zoo.create_model(TINY, num_classes=10), LABELS, "scratch", 32, **STATED)


@pytest.fixture
def scratch(tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The catalog with one weight, `TINY.scratch`, untrained and of ten classes."""
    package = tmp_path / f"weights_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tiny.safetensors").write_bytes(tiny.files["model.safetensors"])
    content = yaml.safe_load(catalog.catalog_path().read_text(encoding="utf-8"))
    content["weights"] = [tiny.weight.model_dump(mode="json") | {"source": f"package:{package.name}/tiny.safetensors"}]
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(catalog, "catalog_path", lambda: tmp_path / "registry.yaml")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog.default_catalog.cache_clear()
    yield tiny.weight.name
    catalog.default_catalog.cache_clear()


@pytest.fixture
def stored(tiny: ModelFolder, scratch: str, tmp_path: Path) -> Callable[..., Path]:
    """Writes that weight as `zoo train` does, its record changed so, into a folder, which is returned."""

    def write(**changes: Any) -> Path:
        config = write_config(tiny.weight.model_copy(update=changes), {}, 4)
        replace(tiny, files={**tiny.files, "config.json": config}).write(tmp_path / "runs" / "a")
        return tmp_path / "runs" / "a"

    return write
