"""The export guide's snippet prepares image files as the zoo does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data.images import sample_photographs

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "export.md"
NAME = "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10"
CAT = Image.open(sample_photographs()[0])


def turned() -> Image.Exif:
    """As a telephone that was held upright stores it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def transparent() -> Image.Image:
    image = CAT.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("kind", ["turned.jpg", "16bits.png", "transparent.png", "cmyk.jpg"])
def test_the_export_page_prepares_as_the_transform(kind: str, tmp_path: Path) -> None:
    image = {
        "turned.jpg": CAT.rotate(90, expand=True),
        "16bits.png": Image.fromarray(np.asarray(CAT.convert("L")).astype(np.uint16) * 257),
        "transparent.png": transparent(),
        "cmyk.jpg": CAT.convert("CMYK"),
    }[kind]
    more: dict[str, Any] = {"exif": turned()} if kind == "turned.jpg" else {}
    image.save(tmp_path / kind, **more)
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "def prepare" in block]
    names: dict = {}
    exec(block, names)
    prepared = names["prepare"](Image.open(tmp_path / kind))
    assert torch.equal(torch.from_numpy(prepared)[0], zoo.transform(NAME)(tmp_path / kind))
