"""A few images of any data, without regard to their labels: for what is counted, not measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from PIL import Image

from zoo.data.folders import holds_images, subfolders
from zoo.data.image_list import Listing
from zoo.data.images import find_images, read_image
from zoo.data.limit import spread_rows
from zoo.data.load import list_split
from zoo.data.source import Source


@final
@dataclass(frozen=True)
class ImageSample:
    """Some images, decoded one by one as they are asked for.

    Attributes:
        origin: files, or rows of a listing.
    """

    origin: tuple[Path, ...] | Listing

    def __len__(self) -> int:
        return len(self.origin)

    def __iter__(self) -> Iterator[Image.Image]:
        """RGB, upright; raises `InputError`, naming it, for an image that is damaged."""
        if isinstance(self.origin, Listing):
            for key in self.origin.keys.tolist():
                yield self.origin.store.image(key)
        else:
            for file in self.origin:
                yield read_image(file)


def sample_images(source: Source, limit: int) -> ImageSample:
    """As many images, spread over the classes; of data with a validation split, of that.

    Args:
        source: what `zoo.data.load_split` takes; or an image file, or a folder with images in itself, whose folders
            count as classes.
        limit: how many at most.

    Raises:
        InputError: as `load_split` and `find_images` do.
    """
    files = _loose_images(source)
    if files is None:
        listing = list_split(source, "val")
        return ImageSample(listing.select(spread_rows(listing.labels, limit)))
    folders = sorted({file.parent for file in files})
    labels = torch.tensor([folders.index(file.parent) for file in files])
    return ImageSample(tuple(files[row] for row in spread_rows(labels, limit).tolist()))


def _loose_images(source: Source) -> list[Path] | None:
    """Image files that are not sorted into class folders; None for everything else."""
    if not isinstance(source.named, str | Path) or source.is_named:
        return None
    path = Path(source.named).expanduser()
    if path.is_dir() and (holds_images(path) or not (subfolders(path) or source.reads(path))):
        return find_images([path])
    return [path] if path.is_file() and not source.reads(path) else None
