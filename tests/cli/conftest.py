"""A catalog with a weight of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file

import zoo
from tests.cli.commands import LABELS, TINY
from zoo import catalog
from zoo.weights import read_weight, write_config


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The catalog with one weight, `TINY.scratch`, untrained and of ten classes."""
    model = zoo.create_model(TINY, num_classes=10)
    package = tmp_path / f"weights_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    package.mkdir()
    (package / "__init__.py").touch()
    save_file(model.state_dict(), package / "tiny.safetensors")
    data = (package / "tiny.safetensors").read_bytes()
    content = yaml.safe_load(catalog.catalog_path().read_text(encoding="utf-8"))
    content["weights"] = [
        {
            "variant": TINY,
            "tag": "scratch",
            "source": f"package:{package.name}/tiny.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "license": "MIT",
            "dataset": "noise",
            "dataset_license": "CC0-1.0",
            "dataset_attribution": "nobody",
            "labels": LABELS,
            "preprocessing": {"size": 32},
            "recipe": "none",
            "epochs": 1,
            "seed": 7,
            "metrics": {"top1": 12.345, "top5": 50.0},
            "spec": model.spec.to_json(),
            "providers": {"has8-zoo": zoo.__version__},
            "figures": {"params": 1234, "image_size": 32, "timesteps": 8, "macs": 56789, "macs_per_timestep": 8765},
        }
    ]
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(catalog, "catalog_path", lambda: tmp_path / "registry.yaml")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog.default_catalog.cache_clear()
    yield f"{TINY}.scratch"
    catalog.default_catalog.cache_clear()


@pytest.fixture
def stored(scratch: str, tmp_path: Path) -> Callable[..., Path]:
    """Writes that weight as `zoo train` does, its record changed so, into a folder, which is returned."""

    def write(**changes: Any) -> Path:
        record = catalog.default_catalog().weight(zoo.parse_name(scratch))
        folder = tmp_path / "runs" / "a"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(read_weight(record, record.location))
        (folder / "config.json").write_bytes(write_config(record.stored().model_copy(update=changes), {}, 4))
        return folder

    return write
