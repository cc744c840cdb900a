"""Data sets of other libraries: torchvision's by name; the Hub's, parquet and WebDataset's tar through `datasets`."""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.datasets import (
    ImageDataset,
    label_images,
    name_some,
    number_names,
    open_arrays,
    open_files,
    open_folder,
    title_of,
)
from zoo.data.images import display_name, list_folder
from zoo.data.packed import WHOLE
from zoo.errors import InputError, missing_extra
from zoo.files import is_file, is_folder

if TYPE_CHECKING:
    import datasets

CALLED = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
"""Names of a split's folder or file, the first that is there counts: `test` is used if there is no `val`."""

# By name --------------------------------------------------------------------------------------------------------------

_SITES = {
    "cifar10": ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "cifar-10-python.tar.gz"),
    "cifar100": ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "cifar-100-python.tar.gz"),
    "caltech101": ("https://data.caltech.edu/records/mzrjq-6wc02", "caltech101/caltech-101.zip"),
    "caltech256": ("https://data.caltech.edu/records/nyy15-4j048", "caltech256/256_ObjectCategories.tar"),
    "imagenet": ("https://image-net.org/download.php", "imagenet/ILSVRC2012_*.tar"),
}
"""Address of each data set, and its archive below the root: one that lies there is checked and unpacked."""

CALTECH = {
    "caltech101": ("caltech101/101_ObjectCategories", "image_{number:04d}.jpg", 8_677),
    "caltech256": ("caltech256/256_ObjectCategories", "{label:03d}_{number:04d}.jpg", 30_607),
}
"""Folder below the root, names of files, and number of images in categories."""


def dataset_names() -> tuple[str, ...]:
    """Return the names of the data sets that DATA may name."""
    return tuple(_SITES)


def default_root() -> Path:
    """Return the folder where data sets are kept: ZOO_DATA, else ~/.cache/has8-zoo/datasets."""
    return Path(os.environ.get("ZOO_DATA") or Path.home() / ".cache" / "has8-zoo" / "datasets")


def open_named(name: str, split: str, root: Path, seed: int, download: bool) -> ImageDataset:
    """Open `train` or `val` of a data set of torchvision; of CIFAR val is the test images, Caltech is divided 80/20.

    Raises:
        InputError: it is not there, or not whole, and cannot be downloaded.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if name.startswith("cifar"):
            return _open_cifar(name, split, root, download)
        if name.startswith("caltech"):
            return _open_caltech(name, root, download).divide(seed)[split != "train"]
        return _open_imagenet(split, root / name)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise missing_extra(error, f"reading {name}", "train") from error
    except Exception as error:  # torchvision raises errors of any type on damaged archives
        address, archive = _SITES[name]
        hint = " and downloading is switched off" * (not download) if name != "imagenet" else " and it needs an account"
        raise InputError(
            f"{name} cannot be read below {display_name(root)}: {' '.join(str(error).split())}{hint}; fetch it from "
            f"{address}, and put the archive there as {archive}"
        ) from error


def _open_cifar(name: str, split: str, root: Path, download: bool) -> ImageDataset:
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = CIFAR10 if name == "cifar10" else CIFAR100
    data = kind(root, train=split == "train", download=download or (root / kind.filename).is_file())
    part = "train" if split == "train" else "test"
    names = [f"{data.classes[label]}/{part}_{row:05d}" for row, label in enumerate(data.targets)]
    where = f"{name}, {part} images"
    return open_arrays(data.data, data.targets, data.classes, names, where, where)


def _open_caltech(name: str, root: Path, download: bool) -> ImageDataset:
    from torchvision.datasets import Caltech101, Caltech256

    kind: type[Caltech101] | type[Caltech256] = Caltech101 if name == "caltech101" else Caltech256
    data = kind(str(root), download=download or (root / _SITES[name][1]).is_file())
    below, pattern, wanted = CALTECH[name]
    images: dict[str, list[str]] = {category: [] for category in data.categories}
    for label, number in zip(data.y, data.index, strict=True):
        category = data.categories[label]
        images[category].append(f"{category}/{pattern.format(label=label + 1, number=number)}")
    missing = [file for files in images.values() for file in files if not (root / below / file).is_file()]
    if missing or len(data) != wanted:  # torchvision looks at the folder's name alone
        raise InputError(
            f"{display_name(root / below)} holds {len(data) - len(missing):,} of the {wanted:,} images of {name}; "
            "remove it to have it unpacked or downloaded again"
        )
    return open_files(root / below, images, name)


def _open_imagenet(split: str, folder: Path) -> ImageDataset:
    from torchvision.datasets.imagenet import ImageNet, load_meta_file

    if not (folder / split).is_dir() or not (folder / "meta.bin").is_file():
        ImageNet(folder, split)  # unpacks the archives
    data = open_folder(folder / split)
    synonyms = {wnid: ", ".join(names) for wnid, names in load_meta_file(folder)[0].items()}
    wrong = sorted(synonyms.keys() ^ set(data.classes))
    wrong += [entry.name for entry in list_folder(folder / split) if entry.is_file()]  # half unpacked
    if wrong:
        raise InputError(
            f"{display_name(folder / split)} is not whole: {name_some(wrong)} should be there and is not, or should "
            "not; remove the folder to have it unpacked again"
        )
    shared = Counter(synonyms.values())  # both cranes
    titles = (f"{synonyms[wnid]} ({wnid})" if shared[synonyms[wnid]] > 1 else synonyms[wnid] for wnid in data.classes)
    return replace(data, classes=tuple(titles))


# Through `datasets` ---------------------------------------------------------------------------------------------------

PREFIXES = ("hfds/", "wds/")
"""Before a set of the Hub, a folder of .parquet files, or tar files of WebDataset."""

_SAVED = ("dataset_dict.json", "dataset_info.json")
"""Files that `save_to_disk` writes."""

_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")
"""Usual names of columns; another one is taken if no other column could be meant."""


def is_reference(named: object) -> bool:
    """Return whether that is `hfds/…` or `wds/…`."""
    return isinstance(named, str) and named.lower().startswith(PREFIXES) and bool(named.partition("/")[2].strip("/"))


def holds_tables(path: Path) -> bool:
    """Return whether that is a .tar or .parquet file, or a folder of such, or what `save_to_disk` wrote."""
    if not is_folder(path):
        return is_file(path) and path.suffix.lower() in (".tar", ".parquet")
    if any((path / name).is_file() for name in _SAVED):
        return True
    return bool(_table_files(path)) and not any(child.is_dir() for child in path.iterdir())


def _table_files(path: Path) -> list[Path]:
    """Return the tar files of a folder, else its .parquet files; or the file itself."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    return sorted(path.glob("*.tar")) or sorted(path.glob("*.parquet"))


def open_tables(named: str, root: Path | None, download: bool) -> dict[str, ImageDataset]:
    """Open a set of the Hub, a .tar or .parquet file, a folder of such files, or what `save_to_disk` wrote.

    Args:
        named: a path, a reference `hfds/…` or `wds/…`, or `hfds/ORG/NAME` of the Hub.
        root: where the library keeps what it downloads and converts; None for its own cache.
        download: whether a set of the Hub may be downloaded.

    Returns:
        Data sets by split; those of files by the names that these begin with. One split alone is `WHOLE`.

    Raises:
        InputError: there is no such set, a file is cut, or it holds no images with labels.
        MissingExtraError: `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing_extra(error, "reading sets of the Hub, parquet and tar", "data") from error
    where = display_name(named)
    rest = named.partition("/")[2] if is_reference(named) else named
    path, cache = Path(rest).expanduser(), None if root is None else str(root.expanduser())
    if not path.exists() and (named.lower().startswith("wds/") or not download):
        raise InputError(f"{where}: there is no {display_name(path)}, or downloading is switched off")
    splits: dict[str, list[str]] = {}
    for file in _table_files(path):
        if file.suffix == ".tar":
            _check_tar(file)
        splits.setdefault(_split_of(file), []).append(str(file.absolute()))
    with _explained(where):
        if any((path / name).is_file() for name in _SAVED):
            tables = datasets.load_from_disk(path)
        elif splits:
            kind = "webdataset" if _table_files(path)[0].suffix == ".tar" else "parquet"
            tables = datasets.load_dataset(kind, data_files=splits, cache_dir=cache)
        else:
            tables = datasets.load_dataset(rest, cache_dir=cache)
    if not isinstance(tables, datasets.DatasetDict):
        tables = {WHOLE: tables}
    beside = (path if path.is_dir() else path.parent) / "classes.txt"
    classes = beside.read_text("utf-8").splitlines() if path.exists() and beside.is_file() else None
    title = title_of(path) if path.exists() else where
    parts = {split: _open(rows, f"{where}, {split}", f"{title}, {split}", classes) for split, rows in tables.items()}
    return parts if len(parts) > 1 else dict.fromkeys((WHOLE,), *parts.values())


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Make an `InputError` of everything that the library raises, and the libraries below it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise InputError(
            f"{where} cannot be read by the library datasets: {reason}; check the name: ORG/NAME of the Hub, or whole "
            ".parquet or .tar files"
        ) from error


def _split_of(file: Path) -> str:
    """Return the split that a file's name begins with, as in train-0000.tar; else `train`."""
    known = [name for names in CALLED.values() for name in names]
    return next((name for name in known if re.match(rf"{name}(?![a-z])", file.stem.lower())), "train")


def _check_tar(file: Path) -> None:
    """Raise `InputError` if a tar ends before its end mark: Python's tarfile reads one that was cut without a word."""
    try:
        with tarfile.open(file) as archive:
            for _ in archive:
                pass
            end = archive.offset
        with file.open("rb") as stream:
            stream.seek(end)
            whole = stream.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InputError(f"{display_name(file)} is damaged: {error}; make or download it again") from error
    if not whole:
        raise InputError(f"{display_name(file)} is cut: it lacks the mark of a tar's end; make or download it again")


def _open(rows: datasets.Dataset, where: str, title: str, classes: list[str] | None) -> ImageDataset:
    """Open a table in the order of its rows; images are read when they are asked for."""
    import datasets

    with _explained(where):
        image = _column(rows.features, _IMAGE_COLUMNS, datasets.Image, where)
        label = _column(rows.features, _LABEL_COLUMNS, datasets.ClassLabel, where)
        labels, known = _number(rows[label][:], rows.features[label], classes, where)
        rows = rows.cast_column(image, datasets.Image(decode=False))
        names = _names(rows, image, labels, known)
        images = rows.select_columns([image])

    def stored(key: int) -> bytes:
        try:
            held = images[key][image]
            return held["bytes"] or Path(held["path"]).read_bytes()
        except Exception as error:  # of what Arrow and datasets do not like in a row
            raise InputError(f"{where}: {names[key]} cannot be read: {type(error).__name__}: {error}") from error

    return label_images(stored, len(labels), labels, known, names, where, title, "a table of image files")


def _column(features: Mapping[str, Any], usual: Sequence[str], kind: type, where: str) -> str:
    """Return the first usual name of a column that is there, else the only column of that type."""
    found = [name for name in usual if name in features]
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not found and len(typed) != 1:
        columns = ", ".join(display_name(name) for name in features)
        raise InputError(
            f"{where} has no column that must be the {kind.__name__}; it has {columns}; call it {' or '.join(usual)}"
        )
    return (found or typed)[0]


def _number(
    labels: list[Any], feature: Any, classes: list[str] | None, where: str
) -> tuple[np.ndarray[Any, Any], list[str] | None]:
    """Return labels as integers, and the classes' names; texts are numbered in their order, as folders are."""
    if any(label is None or label == -1 for label in labels):
        raise InputError(f"{where} has images without a label; name a set whose images all have one")
    names = getattr(feature, "names", None)  # of a ClassLabel
    if labels and all(isinstance(label, str) for label in labels):
        names = sorted(set(labels))
        numbers = {name: number for number, name in enumerate(names)}
        labels = [numbers[label] for label in labels]
    if not all(isinstance(label, int) for label in labels):
        raise InputError(f"{where} has labels that are neither integers nor names; each image needs one class")
    return np.array(labels, np.int64), classes if names is None else list(names)


def _names(rows: datasets.Dataset, image: str, labels: np.ndarray[Any, Any], classes: list[str] | None) -> list[str]:
    """Return `class/file` if the rows tell a file name for every image, different in its class, else `class/number`."""
    numbered = number_names(labels, classes)
    folders = [name.rpartition("/")[0] for name in numbered]
    if "__key__" in rows.column_names:  # of WebDataset, which may tell a folder too
        keys = zip(folders, rows["__key__"], strict=True)
        return [f"{key}.jpg" if "/" in key else f"{folder}/{key}.jpg" for folder, key in keys]
    paths = [path for chunk in rows.data.column(image).chunks for path in chunk.field("path").to_pylist()]
    if len(paths) != len(folders):  # some of the rows were selected
        return numbered
    names = [f"{folder}/{Path(path or '').name}" for folder, path in zip(folders, paths, strict=True)]
    return names if all(paths) and len(set(names)) == len(names) else numbered
