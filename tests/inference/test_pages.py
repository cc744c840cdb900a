"""The guides' snippets prepare every kind of image file as `zoo.predict` does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data.images import sample_photographs
from zoo.inference.predict import Prediction

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
NAME = "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10"
CAT = sample_photographs()[0]


def turned(path: Path) -> Path:
    """As a telephone that was held upright stores it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(CAT).rotate(90, expand=True).save(path, exif=exif)
    return path


def of_16_bits(path: Path) -> Path:
    levels = np.asarray(Image.open(CAT).convert("L")).astype(np.uint16)
    Image.fromarray(levels * 257).save(path)
    return path


def transparent(path: Path) -> Path:
    image = Image.open(CAT).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)
    return path


def palette(path: Path) -> Path:
    Image.open(transparent(path.with_suffix(".png"))).quantize(64).save(path)
    return path


def cmyk(path: Path) -> Path:
    Image.open(CAT).convert("CMYK").save(path)
    return path


KINDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "turned JPEG": (turned, "a.jpg"),
    "turned TIFF": (turned, "a.tif"),
    "turned AVIF": (turned, "a.avif"),
    "16 bits": (of_16_bits, "a.png"),
    "transparent": (transparent, "a.png"),
    "palette with transparency": (palette, "a.gif"),
    "CMYK": (cmyk, "a.jpg"),
}


@pytest.fixture(params=KINDS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make, name = KINDS[request.param]
    return make(tmp_path / name)


def run_block(guide: str, containing: str, **names: Any) -> dict[str, Any]:
    """Run the one Python block of a guide that holds that text."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (GUIDES / guide).read_text("utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if containing in block]
    exec(compile(block, guide, "exec"), names)
    return names


def test_the_logits_of_the_predict_page_are_those_of_predict(file: Path) -> None:
    names = run_block("predict.md", "zoo.transform(name)", zoo=zoo, photograph=file)
    answers = zoo.predict(NAME, file, top=10)
    assert isinstance(answers[0], Prediction)
    shares = dict(
        zip(names["model"].pretrained_cfg["label_names"], names["logits"].softmax(1)[0].tolist(), strict=True)
    )
    assert dict(answers[0].ranked) == pytest.approx(shares, abs=1e-5)


def test_the_export_page_prepares_as_the_transform(file: Path) -> None:
    prepare = run_block("export.md", "def prepare")["prepare"]
    assert torch.equal(torch.from_numpy(prepare(Image.open(file)))[0], zoo.transform(NAME)(file))
