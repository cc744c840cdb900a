"""From what a user names as data to splits of images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from zoo.catalog import Preprocessing
from zoo.contracts.sizes import MAX_IMAGE_SIZE
from zoo.data.datasets import (
    ImageDataset,
    InHand,
    holds_images,
    name_some,
    open_files,
    open_folder,
    open_in_hand,
    subfolders,
)
from zoo.data.images import Transform, display_name, find_images
from zoo.data.libraries import (
    CALLED,
    dataset_names,
    default_root,
    holds_tables,
    is_reference,
    open_named,
    open_tables,
)
from zoo.data.packed import WHOLE, Pack, check_left, check_target, open_packed, write_pack
from zoo.data.splits import DataSplits, ImageSplit, StreamedSplit, decode_split, limit_images, spread_rows
from zoo.errors import InputError, check_count, suggest
from zoo.factory import OpenedModel
from zoo.files import is_file, is_folder
from zoo.progress import LONG, progress

Split = Literal["train", "val"]

LARGEST = 224
"""Pixels a side above which images are resized: the paper's size."""

_GIB = 2**30

Parts = Mapping[str, Callable[[], ImageDataset]]
"""Splits by name, each opened when it is called; `WHOLE` for data that are not divided."""

Source: TypeAlias = "str | Path | InHand"
"""What a user names as data; see `load_data`."""


@final
@dataclass(frozen=True)
class DataOptions:
    """How DATA is read; see `load_data`.

    Attributes:
        image_size: pixels a side; None for the size of the weight that a run begins with, else for 224 if an image is
            larger, else for the smallest shorter side.
        root: where named data sets lie, or are downloaded to; None for ZOO_DATA, else ~/.cache/has8-zoo/datasets.
        download: whether they may be.
        max_damaged: images of a split that are skipped before it is an error.
        limit: training images to use, all classes alike; None for all.
        limit_val: validation images to use, likewise.
        split_seed: of the division 80/20.
        in_memory_bytes: up to how many all splits are decoded once and kept in memory, else whenever they are read.
    """

    image_size: int | None = None
    root: Path | None = None
    download: bool = True
    max_damaged: int = 100
    limit: int | None = None
    limit_val: int | None = None
    split_seed: int = 3407
    in_memory_bytes: int = 2 * _GIB


def load_data(source: Source, options: DataOptions | None = None, **changes: Any) -> DataSplits:
    """Load the images to train on and those to be measured on.

    `source` is one of

    - a name of `dataset_names()`; a folder of that name is `./cifar10`;
    - a folder with `train/` and `val/` (or `valid/`, `validation/`, `test/`), each with a folder a class;
    - a folder with a folder a class, which is divided 80/20, class by class;
    - an .npz as `open_packed` reads it, divided 80/20 unless it has `split`; a folder with `train.npz` and `val.npz`;
    - a .parquet file, a .tar of WebDataset, a folder of either, or what `save_to_disk` of the library datasets wrote;
      also as `hfds/FOLDER`, `wds/FILE.tar`; and `hfds/ORG/NAME`, a set of the Hugging Face Hub. One split alone is
      divided 80/20;
    - arrays `(images, labels)` or `(images, labels, classes)`, a map-style torch `Dataset`, or a mapping of `train` and
      `val` to such.

    Every image becomes RGB, upright, 8 bits a channel, as `zoo predict` reads it. Square images of one size that is not
    over 224 stay as they are. All others have their shorter side resized and their centre cropped: to 224 if a side of
    any of them is longer, else to the smallest shorter side.

    Example:
        >>> import numpy as np
        >>> from zoo.data import load_data
        >>> images = np.zeros((20, 8, 8, 3), np.uint8)
        >>> splits = load_data((images, np.arange(20) % 2, ("cat", "dog")))
        >>> len(splits.train), len(splits.val), splits.train.classes
        (16, 4, ('cat', 'dog'))

    Args:
        source: the data.
        options: how they are read.
        **changes: of the options, such as `image_size=64`.

    Raises:
        InputError: there is no such data, they hold one class, no images or an empty class, val has classes that train
            lacks, a source is cut or damaged, or too many images are damaged.
        MissingExtraError: sets of the Hub, parquet and tar need `pip install 'has8-zoo[data]'`.
    """
    options = replace(options or DataOptions(), **changes)
    train, val = _open_both(source, options)
    side, reason = choose_size([train, val], options.image_size)
    held = _hold([train, val], Transform(Preprocessing(size=side)), options)
    check_left(train, held[0].labels, held[0].damage)
    chosen, measured = (
        limit_images(split, limit) for split, limit in zip(held, (options.limit, options.limit_val), strict=True)
    )
    return DataSplits(chosen, measured, reason)


def load_split(
    source: Source,
    split: Split,
    options: DataOptions | None = None,
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    **changes: Any,
) -> ImageSplit:
    """Load one split, as `load_data` does; data that are not divided are taken whole, and no limit counts.

    Args:
        source: the data.
        split: `train` or `val`.
        options: as for `load_data`.
        classes: label order of the result, which may hold more classes than the data; None for the data's own. If the
            data have labels without names, and no number is one of these classes, they are their numbers.
        preprocessing: of a weight: size, interpolation and crop of the images, instead of `image_size`.
        **changes: of the options.

    Raises:
        InputError: as for `load_data`, or the data have a class that `classes` lacks.
        MissingExtraError: as for `load_data`.
    """
    options = replace(options or DataOptions(), **changes)
    data = open_split(source, split, options)
    if classes is None:
        data.check_classes()
    else:
        data = data.relabel(classes, "the model")
    if preprocessing is None:
        preprocessing = Preprocessing(size=choose_size([data], options.image_size)[0])
    return _hold([data], Transform(preprocessing), options)[0]


def prepare_data(source: Source | DataSplits, options: DataOptions, opened: OpenedModel) -> DataSplits:
    """Load the data of a run, and check them before the first epoch.

    Args:
        source: as for `load_data`; or splits, of which the limits alone count.
        options: how they are read.
        opened: what the run begins with; images get the size of its weight, if it has one.

    Raises:
        InputError: the data cannot be used; images that are not square.
    """
    if isinstance(source, DataSplits):
        train, val = limit_images(source.train, options.limit), limit_images(source.val, options.limit_val)
        splits = DataSplits(train, val, source.size_reason)
    else:
        size = opened.preprocessing().size if opened.weight_name else None
        splits = load_data(source, options, image_size=options.image_size or size)
        if size is not None and options.image_size is None:
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
    return splits


def pack(
    source: Source, out: Path, options: DataOptions | None = None, *, replace_file: bool = False, **changes: Any
) -> Pack:
    """Write any data into one .npz of pixels, as `write_pack` describes.

    A training on it sees the same pixels in the same order, divided the same way, as one on `source` does that is
    asked for the same image size.

    Args:
        source: as for `load_data`.
        out: the file.
        options: as for `load_data`.
        replace_file: whether a file that is there may be replaced.
        **changes: of the options.

    Raises:
        InputError: `source` cannot be used, as `load_data` says; `out` is there already, or cannot be written. Nothing
            half-written is left.
    """
    options = replace(options or DataOptions(), **changes)
    check_target(out, replace_file)
    parts: dict[str, ImageDataset] = {}
    opened = open_parts(source, options)
    if WHOLE in opened:
        parts[WHOLE] = opened[WHOLE]()
        parts[WHOLE].check_classes()
    else:
        parts["train"], parts["val"] = _open_both(source, options)
    side, _ = choose_size(list(parts.values()), options.image_size)
    images = sum(map(len, parts.values()))
    with progress("packing", images, visible=images >= LONG) as advance:
        return write_pack(parts, out, Transform(Preprocessing(size=side)), _damaged(options), advance)


def sample_images(source: Source, limit: int, options: DataOptions | None = None) -> ImageDataset:
    """Open as many images, spread over the classes; of data with a validation split, of that.

    Args:
        source: what `load_split` takes; or an image file, or a folder with images in itself, whose folders count as
            classes.
        limit: how many at most.
        options: as for `load_data`.

    Raises:
        InputError: as `load_split` and `find_images` do.
    """
    data = _open_loose(source)
    if data is None:
        data = open_split(source, "val", options or DataOptions())
    return data.select(spread_rows(data.labels, limit))


def identify_data(data: object) -> str:
    """Return what run.json calls data: a whole path, the name of a data set, or the kind and hash of data in memory.

    It is empty for splits that were loaded before.
    """
    if isinstance(data, Mapping):
        content = hashlib.sha256()
        for split, part in data.items():
            content.update(repr((split, part.fingerprint((0, 0)))).encode())
            for row in range(len(part)):
                content.update(part.image_and_content(row)[1])
        kinds = " and ".join(sorted({part.title for part in data.values()}))
        return f"{kinds}, {content.hexdigest()[:16]}"
    if not isinstance(data, str | Path):
        return ""
    path = Path(data).expanduser()
    return str(path.resolve()) if is_file(path) or is_folder(path) else str(data)


# Opening --------------------------------------------------------------------------------------------------------------


def open_parts(source: Source, options: DataOptions) -> Parts:
    """Find the splits that there are; none of them is read before it is called.

    Raises:
        InputError: there is no such data.
        MissingExtraError: what reads them is not installed.
    """
    if not isinstance(source, str | Path):
        return {split: partial(_same, part) for split, part in open_in_hand(source).items()}
    path = Path(source).expanduser()
    if is_reference(source) or holds_tables(path):
        parts = open_tables(str(source), options.root, options.download)
        return {split: partial(_same, part) for split, part in parts.items()}
    if isinstance(source, str) and source in dataset_names():
        root = (options.root or default_root()).expanduser()
        return {
            split: partial(open_named, source, split, root, options.split_seed, options.download) for split in CALLED
        }
    if not (is_file(path) or is_folder(path)):
        raise _unknown(str(source))
    if path.is_file():
        return {split: partial(_same, part) for split, part in open_packed(path).items()}
    packed = {name: file for name in _split_names() if (file := path / f"{name}.npz").is_file()}
    folders = _split_folders(path)
    if packed and folders:
        raise InputError(f"{display_name(path)} holds splits both as .npz and as folders; name one of them alone")
    if packed:
        return {split: partial(_open_undivided, file) for split, file in packed.items()}
    return {split: partial(open_folder, folder) for split, folder in folders.items()} or {
        WHOLE: partial(open_folder, path)
    }


def open_split(source: Source, split: Split, options: DataOptions) -> ImageDataset:
    """Open the images of one split, all of them if they are not divided; raises as `load_split` does."""
    if split not in CALLED:
        raise InputError(f"unknown split {split!r}; valid: {', '.join(CALLED)}")
    parts = open_parts(source, options)
    return parts[WHOLE]() if WHOLE in parts else _find(parts, split, source)()


def _open_both(source: Source, options: DataOptions) -> tuple[ImageDataset, ImageDataset]:
    """Open the images to train on, and those to measure on with the labels of the former."""
    parts = open_parts(source, options)
    if WHOLE in parts:
        whole = parts[WHOLE]()
        whole.check_classes()
        train, val = whole.divide(options.split_seed)
    else:
        openers = [_find(parts, split, source) for split in CALLED]  # both are there before one is read
        train, val = (opener() for opener in openers)
    train.check_classes()
    return train, val.relabel(train.classes, train.where)


def _same(data: ImageDataset) -> ImageDataset:
    return data


def _find(parts: Parts, split: str, source: Source) -> Callable[[], ImageDataset]:
    """Return what opens a split, whatever it is called."""
    for name in CALLED[split]:
        if name in parts:
            return parts[name]
    where, alone = "the mapping", ""
    if isinstance(source, str | Path):
        where, path = display_name(source), Path(source).expanduser()
        only = path / next(iter(parts))
        if only.is_dir():
            alone = f"; name {display_name(only)} itself to have it divided 80/20"
    raise InputError(
        f"{where} has {name_some(list(parts))}, but no {split} split, which may be called "
        f"{', '.join(CALLED[split])}{alone}"
    )


def _unknown(named: str) -> InputError:
    where, (scheme, separator, rest) = display_name(named), named.partition("://")
    hint = suggest(named, dataset_names())
    if separator:
        hub = f"hfds/{display_name(rest.removeprefix('datasets/'))}" if scheme in ("hf", "hfds") else "hfds/ORG/NAME"
        hint = f"; addresses are not read: a set of the Hub is named {hub}, and other files are downloaded first"
    return InputError(f"{where} is not a folder, a file or a data set by name{hint}")


def _split_names() -> list[str]:
    return [name for names in CALLED.values() for name in names]


def _split_folders(folder: Path) -> dict[str, Path]:
    """Find folders called as splits are; beside others, one with images in itself is a class, such as train and bus."""
    called, there = _split_names(), subfolders(folder)
    alone = set(called).issuperset(there)
    return {name: folder / name for name in there if name in called and (alone or not holds_images(folder / name))}


def _open_undivided(file: Path) -> ImageDataset:
    """Open an .npz that is a split as it lies there."""
    parts = open_packed(file)
    if WHOLE not in parts:
        raise InputError(
            f"{display_name(file)} is divided itself, into {name_some(list(parts))}; name it alone, or take its array "
            "split out"
        )
    return parts[WHOLE]


def _open_loose(source: Source) -> ImageDataset | None:
    """Open image files that are not sorted into class folders; None for everything else."""
    if not isinstance(source, str | Path) or is_reference(source) or source in dataset_names():
        return None
    path = Path(source).expanduser()
    if is_file(path):
        data = holds_tables(path) or path.suffix.lower() == ".npz"
        return None if data else open_files(path.parent, {"": [path.name]}, path.name)
    if not is_folder(path) or holds_tables(path) or any(path.glob("*.npz")):
        return None
    if subfolders(path) and not holds_images(path):
        return None
    folders: dict[str, list[str]] = {}
    for file in find_images([path]):
        folders.setdefault(str(file.parent), []).append(str(file.relative_to(path)))
    return open_files(path, folders, path.name)


def choose_size(parts: Sequence[ImageDataset], image_size: int | None = None) -> tuple[int, str]:
    """Choose `image_size`; else 224 if an image has a longer side; else the smallest shorter side.

    So small images are not enlarged among small ones. Headers are read until a side is over 224: a data set of
    photographs is decided after one image.

    Returns:
        Pixels a side, and why, in words that a sentence goes on with.

    Raises:
        InputError: no image can be read.
    """
    if image_size is not None:
        return check_count("image_size", image_size, 1, MAX_IMAGE_SIZE), "as asked for"
    smallest = LARGEST + 1
    reasons: list[str] = []
    for data in parts:
        for row in range(len(data) if data.pixels is None else 1):  # pixels are all of one size
            try:
                size = data.size(row)
            except InputError as error:
                reasons.append(str(error))
                continue
            if max(size) > LARGEST:
                return LARGEST, f"since an image of the data has a side over {LARGEST}"
            smallest = min(smallest, *size)
    if smallest > LARGEST:
        raise InputError(f"none of the {len(reasons)} images of {parts[0].where} can be read: {'; '.join(reasons[:1])}")
    return smallest, "the smallest shorter side among the data's images"


def _hold(parts: Sequence[ImageDataset], transform: Transform, options: DataOptions) -> list[ImageSplit]:
    """Keep splits in memory if all of them together fit, else decode them whenever they are read."""
    limit = _damaged(options)
    needed = sum(map(len, parts)) * 3 * transform.preprocessing.size**2
    if needed > options.in_memory_bytes:
        return [StreamedSplit(data, transform, limit) for data in parts]
    return [decode_split(data, transform, limit) for data in parts]


def _damaged(options: DataOptions) -> int:
    return check_count("max_damaged", options.max_damaged, 0, 10**9)
