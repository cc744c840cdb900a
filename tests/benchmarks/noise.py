"""Images of noise with the classes of a weight, as a file that benchmarks take."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.catalog.records import default_catalog
from zoo.registry.components import parse_name


def write_noise(file: Path, weight: str, count: int) -> Path:
    """So many images of 32 pixels, all classes of that weight in turn."""
    classes = default_catalog().weight(parse_name(weight)).labels
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    np.savez(file, images=images, labels=np.arange(count) % len(classes), classes=np.array(classes))
    return file
