"""Loading data: from the name, path or arrays that a user gives to splits of images."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os.path import expanduser, isdir, isfile
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch

from zoo.catalog.records import Preprocessing
from zoo.contracts.family import MAX_IMAGE_SIZE
from zoo.data.datasets import (
    RGB,
    WHOLE,
    ImageDataset,
    InMemory,
    name_some,
    open_files,
    open_folder,
    open_in_memory,
    open_packed,
)
from zoo.data.images import SUFFIXES, Transform, display_name, find_images, subfolders
from zoo.data.splits import SPLIT_ALIASES, SPLITS, DataSplits, ImageSplit, limit_images, split_of, spread_rows
from zoo.errors import InputError, check_count, check_target, suggest, writing_to
from zoo.files import replace_file
from zoo.registry.components import default_registry
from zoo.registry.installing import import_plugin, known_plugins, unknown_component

Split = Literal["train", "val"]

LARGEST = 224
"""Pixels a side above which images are resized: the paper's size."""

_HUB = "hfds/"
"""Before a set of the Hub."""

DataSource: TypeAlias = "str | Path | InMemory"
"""Data as a user names them; see `load_data`."""


@final
@dataclass(frozen=True)
class DataOptions:
    """Options for reading data; see `load_data`.

    Attributes:
        image_size: pixels a side; None for that of the checkpoint that a run begins with, else for 224 if an image is
            larger, else for the smallest shorter side.
        root: folder of named data sets, also for downloads; None for ~/.cache/has8-zoo/datasets.
        limit: training images to use, all classes alike; None for all.
        in_memory_bytes: splits that together take no more are decoded once; others whenever they are read.
    """

    image_size: int | None = None
    root: Path | None = None
    limit: int | None = None
    in_memory_bytes: int = 2 << 30


DEFAULTS = DataOptions()


def load_data(source: DataSource, options: DataOptions = DEFAULTS) -> DataSplits:
    """Load the images to train on and those to be measured on.

    Data without a validation split are divided 80/20, class by class. Every image becomes RGB, upright and square: its
    shorter side is resized and its centre cropped.

    Example:
        >>> import numpy as np
        >>> from zoo.data import load_data
        >>> images = np.zeros((20, 8, 8, 3), np.uint8)
        >>> splits = load_data((images, np.arange(20) % 2, ("cat", "dog")))
        >>> len(splits.train), len(splits.val), splits.train.classes
        (16, 4, ('cat', 'dog'))

    Args:
        source: a folder with a folder a class, or with such folders for `train` and `val`; an .npz, .tar or .parquet
            file, or a folder of these; a name of `dataset_names()`; `hfds/ORG/NAME` of the Hugging Face Hub; arrays
            `(images, labels)` or `(images, labels, classes)`, a map-style torch `Dataset`, or a mapping of `train` and
            `val` to such. docs/guides/data.md has the details.
        options: how they are read.

    Raises:
        InputError: there is no such data, they hold one class, no images or an empty class, val has classes that train
            lacks, a source is cut or damaged, or all images of a class are.
        MissingPluginError: other names, sets of the Hub, parquet and tar need `pip install zoo-datasets`.
    """
    parts = _divided(open_parts(source, ("train", "val"), options))
    train, val = _prepare(parts, Preprocessing(size=choose_size(parts, options.image_size)), options)
    train.data.check_classes()
    return DataSplits(limit_images(train, options.limit), val)


def load_split(
    source: DataSource,
    split: Split,
    options: DataOptions = DEFAULTS,
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> ImageSplit:
    """Load one split, as `load_data` does; data that are not divided are taken whole, and no limit counts.

    Args:
        source: the data.
        split: `train` or `val`.
        options: as for `load_data`.
        classes: label order of the result, which may hold more classes than the data; None for the data's own. If the
            data's classes are numbers, and none is one of these, they number these classes.
        preprocessing: of a weight: size, interpolation and crop of the images, instead of `image_size`.

    Raises:
        InputError: as for `load_data`, or the data have a class that `classes` lacks.
        MissingPluginError: as for `load_data`.
    """
    (data,) = open_parts(source, (split,), options).values()
    if classes is None:
        data.check_classes()
    else:
        data = data.relabel(classes, "the model")
    if preprocessing is None:
        preprocessing = Preprocessing(size=choose_size([data], options.image_size))
    return _prepare([data], preprocessing, options)[0]


def pack(source: DataSource, out: Path, options: DataOptions = DEFAULTS, *, force: bool = False) -> dict[str, Any]:
    """Write any data, decoded, into one .npz; of sound images, a training on it equals one on `source` at that size.

    All pixels are held in memory. Damaged images are left out, and so the others may be divided otherwise.

    Returns:
        What `zoo pack --json` prints: `file`, `images` by split (`all` if they are not divided), `classes`,
        `image_size`, `bytes`, `sha256`, the number of `damaged` images, and `notes` that name them.

    Raises:
        InputError: `source` cannot be used, as `load_data` says; `out` exists, or cannot be written.
    """
    check_target(out, ".npz", force)
    parts = open_parts(source, ("train", "val"), options)
    if WHOLE not in parts:
        parts = dict(zip(parts, _divided(parts), strict=True))
    preprocessing = Preprocessing(size=choose_size(parts.values(), options.image_size))
    prepared = _prepare(parts.values(), preprocessing, replace(options, in_memory_bytes=sys.maxsize))
    prepared[0].data.check_classes()
    splits = dict(zip(parts, prepared, strict=True))
    pixels = torch.cat([split.pixels for split in prepared if split.pixels is not None])
    are_images = prepared[0].data.axes == RGB
    arrays = {
        "images" if are_images else "frames": (pixels.permute(0, 2, 3, 1) if are_images else pixels).numpy(),
        "labels": torch.cat([split.labels for split in prepared]).numpy(),
        "names": np.array([name for split in prepared for name in split.data.names]),
        "classes": np.array(prepared[0].classes),
    }
    if WHOLE not in parts:
        arrays["split"] = np.repeat(list(parts), [len(split) for split in prepared])
    with writing_to(out):
        replace_file(out, lambda file: np.savez(file, allow_pickle=False, **arrays))
        with out.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    return {
        "file": str(out),
        "images": {name: len(split) for name, split in splits.items()},
        "classes": list(prepared[0].classes),
        "image_size": preprocessing.size,
        "bytes": out.stat().st_size,
        "sha256": digest,
        "damaged": sum(len(split.damaged) for split in prepared),
        "notes": [note for name, split in splits.items() for note in split.damage_notes(name)],
    }


def sample_images(source: DataSource, limit: int, options: DataOptions = DEFAULTS) -> ImageDataset:
    """Open at most `limit` images, spread over the classes; of data with a validation split, of that.

    `source` is as for `load_split`; or an image file, or a folder with images that are not sorted into classes.
    """
    (data,) = open_parts(source, ("val",), options).values()
    return data.select(spread_rows(data.labels, limit))


def identify_data(data: object) -> str:
    """Return the text for data in run.json: a path, a name, the hash of data in memory, '' for splits."""
    if isinstance(data, Mapping):
        content = hashlib.sha256()
        for split, part in data.items():
            content.update(repr((split, part.where, part.classes, part.labels.tolist())).encode())
            for row in range(len(part)):
                with suppress(InputError):  # a damaged image, which is counted when it is decoded
                    content.update(part[row][0].tobytes())
        return f"data in memory, {content.hexdigest()[:16]}"
    if not isinstance(data, str | Path):
        return ""
    path = Path(expanduser(data))
    return str(path.resolve()) if isfile(path) or isdir(path) else str(data)


def open_parts(source: DataSource, wanted: Sequence[str], options: DataOptions = DEFAULTS) -> dict[str, ImageDataset]:
    """Open those splits, each by its name in `wanted`; or all images as `WHOLE`, if they are not divided.

    A data set of a plugin that changes other data opens these by it.
    """
    parts = _open(source, wanted, options)
    if len(parts) == 1:
        (only,) = parts.values()
        return {WHOLE: only}
    return {name: _find(parts, name, source) for name in wanted}


def _open(source: DataSource, wanted: Sequence[str], options: DataOptions) -> dict[str, ImageDataset]:
    """Open all splits that a source has, or those that are wanted; raises `InputError` for what is none."""
    if not isinstance(source, str | Path):
        return open_in_memory(source)
    text, path = str(source), Path(expanduser(source))
    name, _, rest = text.partition(":")
    if name in dataset_names():
        root = Path(expanduser(options.root or "~/.cache/has8-zoo/datasets"))
        return dict(default_registry().choose("dataset", name)().open(rest, wanted, root))
    if not isdir(source) and any(f"dataset {name}" in brings for brings in known_plugins().values()):
        raise unknown_component("dataset", name, ())
    tables = _tables(path)
    if tables or text.startswith(_HUB):
        reader = import_plugin("zoo-datasets", "zoo_datasets.tables", "reading sets of the Hub, parquet and tar")
        return dict(reader.open_tables(text, tables, options.root))
    return _open_path(path, wanted)


def _open_path(path: Path, wanted: Sequence[str]) -> dict[str, ImageDataset]:
    """Open .npz files, class folders, or images that are not sorted; raises `InputError` for what is none."""
    packed = _packed_files(path)
    if packed:
        return {split: part for file in packed for split, part in open_packed(file, split_of(file)).items()}
    if isdir(path) and subfolders(path):
        return _open_class_folders(path, wanted)
    if isdir(path) or (isfile(path) and path.suffix.lower() in SUFFIXES):
        images = {"images without a class": [str(image) for image in find_images([path])]}
        return {WHOLE: replace(open_files(Path(), images), where=display_name(path))}
    known = f"image, .npz, .tar, .parquet, hfds/ORG/NAME or name{suggest(str(path), dataset_names())}"
    raise InputError(f"{display_name(path)} is not a folder, {known}")


def _open_class_folders(path: Path, wanted: Sequence[str]) -> dict[str, ImageDataset]:
    """Open a folder of class folders, or of such folders for `train` and `val`."""
    there = {name: path / name for name in subfolders(path) if name in SPLITS}
    if "train" not in there or len(there) == 1:  # else these are classes, such as train beside bus
        return {WHOLE: open_folder(path)}
    return {name: open_folder(_find(there, name, path)) for name in wanted}


def dataset_names() -> tuple[str, ...]:
    """Return the names of the data sets that DATA may name."""
    return tuple(default_registry().plain_names("dataset"))


def _packed_files(path: Path) -> list[Path]:
    """Return an .npz, or those of a folder that are named as splits."""
    if isdir(path):
        return [path / f"{name}.npz" for name in SPLITS if isfile(path / f"{name}.npz")]
    return [path] if path.suffix.lower() == ".npz" and isfile(path) else []


def _tables(path: Path) -> list[Path]:
    """Return a table, or those of a folder that holds neither folders nor splits in .npz."""
    if isdir(path):
        is_other = subfolders(path) or _packed_files(path)
        return [] if is_other else sorted(path.glob("*.tar")) or sorted(path.glob("*.parquet"))
    return [path] if path.suffix.lower() in (".tar", ".parquet") and isfile(path) else []


def _find(parts: Mapping[str, Any], split: str, source: DataSource) -> Any:
    """Return a split under any of its names."""
    for name in SPLIT_ALIASES.get(split, ()):
        if name in parts:
            return parts[name]
    where = display_name(source) if isinstance(source, str | Path) else "the mapping"
    raise InputError(f"{where} has {name_some(list(parts))}, but no {split} split; valid: {', '.join(SPLITS)}")


def _divided(parts: Mapping[str, ImageDataset]) -> tuple[ImageDataset, ImageDataset]:
    """Return the images to train on, and those to measure on with the labels of the former."""
    if WHOLE in parts:
        parts[WHOLE].check_classes()
        return parts[WHOLE].divide()
    parts["train"].check_classes()
    return parts["train"], parts["val"].relabel(parts["train"].classes, parts["train"].where)


def choose_size(parts: Collection[ImageDataset], image_size: int | None = None) -> int:
    """Choose `image_size`; else 224 if a header tells of a longer side; else the smallest shorter side.

    Of frames, which have no header, the first are looked at: a camera's are all alike.
    """
    if image_size is not None:
        return check_count("image_size", image_size, 1, MAX_IMAGE_SIZE)
    smallest = LARGEST
    for data in parts:
        for row in range(len(data) if data.axes == RGB else min(1, len(data))):
            with suppress(InputError):  # counted when it is decoded
                sides = data.sides(row)
                if max(sides) > LARGEST:
                    return LARGEST
                smallest = min(smallest, *sides)
    return smallest


def _prepare(parts: Collection[ImageDataset], preprocessing: Preprocessing, options: DataOptions) -> list[ImageSplit]:
    """Keep splits in memory if all of them together fit, else decode them whenever they are read."""
    splits = [ImageSplit(data, Transform(preprocessing)) for data in parts]
    values = sum(len(data) * math.prod(data.axes) for data in parts) * preprocessing.size**2
    fit = values <= options.in_memory_bytes
    return [split.decoded() for split in splits] if fit else splits
