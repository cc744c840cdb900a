"""How many JPEG files a second threads of the CPU decode, resize and crop: what a GPU's step is fed with."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.catalog import Preprocessing
from zoo.data.images import Transform

SIDES = (500, 375)
"""Pixels of an ImageNet photograph, about."""


def write_photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of smooth noise, which take as many bits as photographs do."""
    generator = np.random.default_rng(0)
    paths = []
    for index in range(count):
        coarse = generator.integers(0, 256, (SIDES[1] // 5, SIDES[0] // 5, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(coarse).resize(SIDES, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        paths.append(folder / f"{index}.jpg")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


def measure_feeding(folder: Path, count: int, size: int, threads: list[int]) -> list[dict[str, Any]]:
    """Images a second by number of threads, from files to tensors of `size` pixels a side."""
    paths, preprocessing = write_photographs(folder, count), Preprocessing(size=size)

    def load(path: Path) -> None:
        Transform(preprocessing)(path)

    load(paths[0])
    rows = []
    for number in threads:
        with ThreadPoolExecutor(number) as pool:
            start = time.perf_counter()
            list(pool.map(load, paths))
            seconds = time.perf_counter() - start
        rows.append({"threads": number, "images": count, "seconds": seconds, "images_per_s": count / seconds})
    return rows
