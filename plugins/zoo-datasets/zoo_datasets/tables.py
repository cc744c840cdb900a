"""Data sets of other libraries: torchvision's by name; the Hub's, parquet and WebDataset's tar through `datasets`."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.datasets import ImageDataset, label_images, open_arrays, open_files, open_folder
from zoo.data.images import display_name, read_file, reading, subfolders
from zoo.errors import InputError
from zoo.installing import missing_extra

if TYPE_CHECKING:
    import datasets

CALLED = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
"""Names of a split's folder or file, the first that is there counts: `test` is used if there is no `val`."""

SPLITS = (*CALLED["train"], *CALLED["val"])


def split_of(file: Path) -> str:
    """Return the split that a file's name begins with, as in train-0000.tar; else `train`."""
    known = re.match(rf"({'|'.join(SPLITS)})(?![a-z])", file.stem.lower())
    return known[1] if known else "train"


# By name --------------------------------------------------------------------------------------------------------------

_KINDS = {kind.lower(): kind for kind in ("CIFAR10", "CIFAR100", "Caltech101", "Caltech256", "ImageNet")}
"""Classes of torchvision.datasets."""

CALTECH = {
    "caltech101": ("caltech101/101_ObjectCategories", 8_677),
    "caltech256": ("caltech256/256_ObjectCategories", 30_607),
}
"""Folder below the root, and number of images in categories."""


def dataset_names() -> tuple[str, ...]:
    """Return the names of the data sets that DATA may name."""
    return tuple(_KINDS)


def open_named(name: str, split: str, root: Path) -> ImageDataset:
    """Open `train` or `val` of a data set of torchvision; of CIFAR val is the test images, Caltech is divided 80/20.

    An archive that lies below `root` is checked and unpacked without the network. Raises `InputError` if the data set
    is not whole, or neither there nor to be downloaded.
    """
    from torchvision import datasets as theirs

    kind = getattr(theirs, _KINDS[name])
    advice = "put its archive there, see https://docs.pytorch.org/vision/stable/datasets.html"
    with reading(f"{name} below {display_name(root)}", advice):
        root.mkdir(parents=True, exist_ok=True)
        if name == "imagenet":
            return _open_imagenet(kind, split, root / name)
        if name in CALTECH:
            kind(str(root), download=True)
            return _open_caltech(name, root).divide()[split != "train"]
        data = kind(root, train=split == "train", download=True)
        part = "train" if split == "train" else "test"
        names = [f"{data.classes[label]}/{part}_{row:05d}" for row, label in enumerate(data.targets)]
        return open_arrays(data.data, data.targets, data.classes, names, f"{name}, {part} images")


def _open_caltech(name: str, root: Path) -> ImageDataset:
    below, wanted = CALTECH[name]
    images = {
        category: sorted(f"{category}/{file.name}" for file in (root / below / category).glob("*.jpg"))
        for category in subfolders(root / below)
        if category != "BACKGROUND_Google"
    }
    data = open_files(root / below, images)
    if len(data) != wanted:  # torchvision looks at the folder's name alone
        raise InputError(f"{data.where} holds {len(data):,} of {wanted:,} images; remove it to unpack it again")
    return data


def _open_imagenet(kind: Any, split: str, folder: Path) -> ImageDataset:
    from torchvision.datasets.imagenet import load_meta_file

    if not (folder / split).is_dir() or not (folder / "meta.bin").is_file():
        try:
            kind(folder, split)  # unpacks the archives
        except ImportError as error:  # of scipy, which reads their list of classes
            raise missing_extra(error, "unpacking imagenet", "train") from error
    if any(re.fullmatch(r"n\d+\.tar|ILSVRC\w+\.JPEG", file.name) for file in (folder / split).iterdir()):
        raise InputError(f"{display_name(folder / split)} holds files outside of classes; remove it to unpack it again")
    data = open_folder(folder / split)
    synonyms = {wnid: ", ".join(names) for wnid, names in load_meta_file(folder)[0].items()}
    if synonyms.keys() != set(data.classes):
        there = f"{len(data.classes):,} of {len(synonyms):,} classes"
        raise InputError(f"{data.where} holds {there}; remove it to unpack it again")
    shared = Counter(synonyms.values())  # both cranes
    titles = (f"{synonyms[wnid]} ({wnid})" if shared[synonyms[wnid]] > 1 else synonyms[wnid] for wnid in data.classes)
    return replace(data, classes=tuple(titles))


# Through `datasets` ---------------------------------------------------------------------------------------------------

HUB = "hfds/"
"""Before a set of the Hub."""

_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")
"""Usual names of columns; another one is taken if no other column could be meant."""


def open_tables(source: str, files: Sequence[Path], root: Path | None) -> dict[str, ImageDataset]:
    """Open .tar or .parquet files, or `hfds/ORG/NAME` of the Hub, by split; raises `InputError`, `MissingExtraError`.

    `root` is the folder where the library keeps what it downloads and converts; None for its own cache.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing_extra(error, "reading sets of the Hub, parquet and tar", "data") from error
    where, cache = display_name(source), None if root is None else expanduser(root)
    splits: dict[str, list[str]] = {}
    for file in files:
        if file.suffix.lower() == ".tar":
            _check_tar(file)
        splits.setdefault(split_of(file), []).append(str(file.absolute()))
    kind = {".tar": "webdataset", ".parquet": "parquet"}[files[0].suffix.lower()] if files else source[len(HUB) :]
    classes = files[0].parent / "classes.txt" if files else None
    with reading(where, "check its name or files; classes.txt must be UTF-8"):
        known = classes.read_text("utf-8-sig").splitlines() if classes and classes.is_file() else None
        tables = datasets.load_dataset(kind, data_files=splits or None, cache_dir=cache)
        return {split: _open_table(rows, f"{where}, {split}", known) for split, rows in tables.items()}


def _check_tar(file: Path) -> None:
    """Raise `InputError` if a tar ends before its end mark: Python's tarfile reads one that was cut without a word."""
    with reading(display_name(file), "make or download it again"), file.open("rb") as stream:
        with tarfile.open(fileobj=stream) as archive:
            archive.getmembers()
            end = archive.offset
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it was cut, and lacks the mark of its end")


def _open_table(rows: datasets.Dataset, where: str, classes: list[str] | None) -> ImageDataset:
    """Open a table in the order of its rows; images are read when they are asked for."""
    import datasets

    image = _column(rows.features, _IMAGE_COLUMNS, datasets.Image, where)
    label = _column(rows.features, _LABEL_COLUMNS, datasets.ClassLabel, where)
    labels = rows[label][:]
    known = getattr(rows.features[label], "names", classes)  # of a ClassLabel
    if labels and all(isinstance(name, str) for name in labels):
        known = sorted(set(labels))
        numbers = {name: number for number, name in enumerate(known)}
        labels = [numbers[name] for name in labels]
    images = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    names = [f"{key}.jpg" for key in rows["__key__"]] if "__key__" in rows.column_names else None  # of WebDataset

    def stored(row: int) -> bytes:
        held = images[row][image] or {"bytes": b""}
        local = held["bytes"] is None and rows.info.builder_name == "imagefolder"  # other paths are untrusted
        return read_file(held["path"], display_name(held["path"])) if local else held["bytes"] or b""

    return label_images(stored, len(labels), labels, known, names, where)


def _column(features: Mapping[str, Any], usual: Sequence[str], kind: type, where: str) -> str:
    """Return the first usual name of a column that is there, else the only column of that type."""
    usual_ones = [name for name in usual if name in features]
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not usual_ones and len(typed) != 1:
        columns = ", ".join(map(display_name, features))
        raise InputError(f"{where} has no {kind.__name__} column among {columns}; call it {' or '.join(usual)}")
    return (usual_ones or typed)[0]
