"""From what a user names to splits of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.data.decode import StreamedSplit, decode_split
from zoo.data.folders import name_some
from zoo.data.image_list import Listing
from zoo.data.in_hand import ImagesInHand, InHand, in_hand
from zoo.data.size import WHOLE_IMAGES, Framing, choose_size
from zoo.data.source import CALLED, Source, Split, check_classes
from zoo.data.splits import DataSplits, ImageSplit
from zoo.errors import InputError, check_count

_GIB = 2**30


def load_data(
    source: str | Path | InHand | ImagesInHand,
    *,
    image_size: int | None = None,
    root: Path | None = None,
    split_seed: int = 3407,
    max_damaged: int = 100,
    download: bool = True,
    in_memory_bytes: int = 2 * _GIB,
) -> DataSplits:
    """What to train on and what to measure on.

    `source` is one of

    - a name of `dataset_names()`; a folder of that name is `./cifar10`;
    - a folder with `train/` and `val/` (or `valid/`, `validation/`, `test/`), each with a folder a class;
    - a folder with a folder a class, which is divided 80/20, class by class;
    - an .npz: arrays `images` (N, H, W, C) uint8 and `labels` (N,), and maybe `classes`, `names` and `split`; or `jpeg`
      (bytes), `offsets`, `labels`, `classes`, and maybe `numbers`. Without `split` it is divided 80/20;
    - a folder with `train.npz` and `val.npz`;
    - `hfds/NAME`, a set of the Hugging Face Hub or a folder of .parquet files; `hfids/NAME`, the same as a stream;
      `wds/FILE.tar` or `wds/FOLDER`, tar files of WebDataset. One split alone is divided 80/20;
    - arrays `(images, labels)` or `(images, labels, classes)`, a map-style torch `Dataset`, or a mapping of `train` and
      `val` to such; `zoo.data.in_hand` says what its fingerprint covers.

    Every image becomes RGB, upright, 8 bits a channel, as `zoo predict` reads it. Square images
    of one size that is not over 224 stay as they are. All others have their shorter side resized and their centre
    cropped: to 224 where a side of any of them is longer, else to the smallest shorter side.

    Args:
        source: the data.
        image_size: pixels a side that all images are brought to instead.
        root: where data sets by name are kept; None for ZOO_DATA, else ~/.cache/has8-zoo/datasets.
        split_seed: of the division 80/20.
        max_damaged: how many damaged images are left out in each split.
        download: whether a data set by name may be downloaded.
        in_memory_bytes: up to how many both splits are decoded once and kept in memory, else whenever they are read.

    Raises:
        InputError: there is no such data, they hold one class, no images or an empty class, val has classes that train
            lacks, a file is broken, or too many images are damaged.
        MissingExtraError: `hfds/`, `hfids/` and `wds/` need `pip install 'has8-zoo[data]'`.
    """
    train, val = list_both(Source(_named(source), root, split_seed, download, image_size, max_damaged=max_damaged))
    chosen = choose_size([train, val], image_size)
    to_train, to_measure = _hold([train, val], chosen.size, max_damaged, in_memory_bytes)
    held = DataSplits(to_train, to_measure, chosen.reason)
    check_left(train, held.train)
    return held


def list_both(source: Source) -> tuple[Listing, Listing]:
    """The images to train on, and those to measure on with the labels of the former; raises as `load_data` does."""
    train, val = source.listings(("train", "val"), whole=False)
    check_classes(train)
    return train, val.relabel(train.classes, train.where)


def load_split(
    source: str | Path | InHand | ImagesInHand,
    split: Split,
    *,
    image_size: int | None = None,
    root: Path | None = None,
    split_seed: int = 3407,
    max_damaged: int = 100,
    download: bool = True,
    in_memory_bytes: int = 2 * _GIB,
    classes: Sequence[str] | None = None,
    framing: Framing = WHOLE_IMAGES,
) -> ImageSplit:
    """One split, as `load_data` gives it; data that are not divided are taken whole.

    Args:
        source: the data.
        split: `train` or `val`.
        image_size: as for `load_data`.
        root: as for `load_data`.
        split_seed: as for `load_data`.
        max_damaged: as for `load_data`.
        download: as for `load_data`.
        in_memory_bytes: as for `load_data`.
        classes: label order of the result, which may hold more classes than the data; None for the data's own. Where
            the data have labels without names, and no number is one of these classes, they are their numbers.
        framing: how images are resized and cropped.

    Raises:
        InputError: as for `load_data`, or the data have a class that `classes` lacks.
        MissingExtraError: as for `load_data`.
    """
    named = Source(_named(source), root, split_seed, download, image_size, max_damaged=max_damaged)
    listing = list_split(named, split)
    if classes is None:
        check_classes(listing)
    else:
        listing = listing.relabel(classes, "the model")
    [held] = _hold([listing], choose_size([listing], image_size).size, max_damaged, in_memory_bytes, framing)
    return held


def list_split(source: Source, split: Split) -> Listing:
    """The images of one split, before they are decoded; raises as `load_split` does."""
    if split not in CALLED:
        raise InputError(f"unknown split {split!r}; valid: {', '.join(CALLED)}")
    [listing] = source.listings((split,), whole=True)
    return listing


def _named(source: str | Path | InHand | ImagesInHand) -> str | Path | ImagesInHand:
    return source if isinstance(source, str | Path | ImagesInHand) else in_hand(source)


def _hold(
    listings: Sequence[Listing],
    size: tuple[int, int],
    max_damaged: int,
    in_memory_bytes: int,
    framing: Framing = WHOLE_IMAGES,
) -> list[ImageSplit]:
    """In memory where all of them together fit, else decoded whenever they are read."""
    limit = check_count("max_damaged", max_damaged, 0, 10**9)
    needed = sum(map(len, listings)) * 3 * size[0] * size[1]
    if needed > in_memory_bytes:
        return [StreamedSplit(listing, size, limit, framing) for listing in listings]
    return [decode_split(listing, size, limit, framing) for listing in listings]


def check_left(listing: Listing, split: ImageSplit) -> None:
    """Raise `InputError` where all images of a class were damaged."""
    lost = sorted(set(listing.labels.tolist()) - set(split.labels.tolist()))
    if lost:
        names = name_some([listing.classes[label] for label in lost])
        raise InputError(f"{listing.where}: all images of {names} are damaged: {'; '.join(split.damage.names)}")
