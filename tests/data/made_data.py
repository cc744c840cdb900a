"""Small image data, made: bright and dark squares of noise, as packed files and as folders."""

from __future__ import annotations

import functools
import io
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


@functools.cache
def encoded(bright: bool, seed: int, size: tuple[int, int] = (16, 16), kind: str = "JPEG") -> bytes:
    """Noise of levels 0…99, or 150…249, of that (width, height), as the bytes of an image file."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 100, (size[1], size[0], 3)) + (150 if bright else 0)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind, quality=90)
    return file.getvalue()


def packed(path: Path, count: int = 24, damaged: Collection[int] = (), **changes: np.ndarray) -> Path:
    """JPEGs of two kinds, dark and bright in turn, packed as CIFAR-10 is; `changes` replaces arrays."""
    files = [b"no image" if i in damaged else encoded(bool(i % 2), i) for i in range(count)]
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.arange(count) % 2,
        "numbers": np.arange(count) // 2,
        "classes": np.array(["dark", "bright"]),
    }
    np.savez(path, allow_pickle=True, **(arrays | changes))
    return path


def folder(path: Path, counts: Mapping[str, int], size: tuple[int, int] = (16, 16)) -> Path:
    """A folder of class folders, that many JPEGs in each, the first class dark, the second bright, …."""
    for number, (name, count) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for i in range(count):
            (path / name / f"{i:05d}.jpg").write_bytes(encoded(bool(number % 2), i, size))
    return path
