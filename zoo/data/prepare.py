"""The data of a run: read as asked, limited to a budget, checked before the first epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from zoo.data import DataSplits, ImageSplit, load_data
from zoo.data.in_hand import ImagesInHand
from zoo.data.limit import limit_images
from zoo.errors import InputError
from zoo.factory import OpenedModel


@final
@dataclass(frozen=True)
class DataOptions:
    """How DATA is read; see `zoo.data.load_data`.

    Attributes:
        image_size: pixels a side; None for the size of the weight that a run begins with, else for 224 where one is
            larger, else for the smallest shorter side.
        root: where named data sets lie, or are downloaded to.
        download: whether they may be.
        max_damaged: images that are skipped before it is an error.
        limit: training images to use, all classes alike; None for all.
        limit_val: validation images to use, likewise.
    """

    image_size: int | None = None
    root: Path | None = None
    download: bool = True
    max_damaged: int = 100
    limit: int | None = None
    limit_val: int | None = None


def wanted_size(options: DataOptions, opened: OpenedModel) -> int | None:
    """Pixels a side that are asked for, or that the weight which a run begins with has; None for the data's own."""
    return options.image_size or (opened.preprocessing().size if opened.weight_name else None)


def prepare_data(data: str | Path | ImagesInHand | DataSplits, options: DataOptions, opened: OpenedModel) -> DataSplits:
    """Both splits.

    Raises:
        InputError: the data cannot be used; images that are not square.
    """
    if isinstance(data, DataSplits):
        splits = data
    else:
        splits = load_data(
            data,
            image_size=wanted_size(options, opened),
            root=options.root,
            max_damaged=options.max_damaged,
            download=options.download,
        )
        if options.image_size is None and opened.weight_name:
            splits = replace(splits, size_reason=f"that of {opened.weight_name}, which the run starts from")
    height, width = splits.train.size
    if height != width:
        raise InputError(
            f"the images have {width}×{height} pixels; a trained model is asked about squares: choose --image-size"
        )
    if splits.val.classes != splits.train.classes:
        raise InputError(
            f"the validation split has the classes {', '.join(splits.val.classes)}, "
            f"the training split {', '.join(splits.train.classes)}; they must be the same, in the same order"
        )
    train, val = limit_images(splits.train, options.limit), limit_images(splits.val, options.limit_val)
    return DataSplits(train, val, splits.size_reason)


def damage_notes(split: ImageSplit, which: str) -> list[str]:
    """What could not be decoded so far, in words; nothing where all was sound."""
    damage = split.damage
    if not damage.count:
        return []
    more = f"; and {damage.count - len(damage.names)} more" if damage.count > len(damage.names) else ""
    return [f"{damage.count} damaged {which} images are left out: {'; '.join(damage.names)}{more}"]
