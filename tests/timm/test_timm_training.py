"""The guide's training with timm's public API: data set, loader, optimiser, schedule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "timm.md"


def test_the_training_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(12):
        folder = tmp_path / "photos" / "train" / ("bright" if i % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        shade = torch.rand(3, 32, 32) * 0.3 + 0.6 * (i % 2)
        Image.fromarray((shade * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    blocks = re.findall(r"^```py\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    (training,) = [block for block in blocks if "create_loader" in block]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(training, "timm.md", "exec"), names)
    assert (names["epochs"], names["step"]) == (1, 2)
    assert torch.isfinite(names["loss"])
    assert 0 <= names["x"].min() <= names["x"].max() <= 1
    assert names["optimizer"].param_groups[0]["lr"] == 0.0
