"""Data sets of other libraries: torchvision's by name; the Hub's, parquet and WebDataset's tar through `datasets`."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.datasets import (
    EncodedStore,
    ImageDataset,
    label_images,
    name_some,
    number_names,
    open_arrays,
    open_files,
    open_folder,
)
from zoo.data.images import display_name, list_folder
from zoo.data.packed import WHOLE
from zoo.errors import InputError, missing_extra

if TYPE_CHECKING:
    import datasets

Parts = Mapping[str, Callable[[], ImageDataset]]
"""Splits by name, each opened when it is called; `WHOLE` for data that are not divided."""

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

PREFIXES = ("hfds", "wds")
"""Before the slash of a reference: a set of the Hub or a folder of .parquet files; tar files of WebDataset."""

_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")
"""Usual names of columns; another one is taken if no other column could be meant."""


def is_reference(named: object) -> bool:
    """Return whether that is `hfds/…` or `wds/…`."""
    prefix, _, rest = str(named).partition("/") if isinstance(named, str) else ("", "", "")
    return bool(rest.strip("/")) and prefix.lower() in PREFIXES


def open_reference(reference: str, root: Path | None, download: bool) -> Parts:
    """Open `hfds/ORG/NAME`, `hfds/FOLDER`, `wds/FILE.tar` or `wds/FOLDER`; one split alone is `WHOLE`.

    Raises:
        InputError: there is no such set, or it holds no images with labels.
        MissingExtraError: `datasets` is not installed.
    """
    prefix, _, rest = reference.partition("/")
    path = Path(rest).expanduser()
    if prefix.lower() == "wds" or path.exists():
        return open_tables(path, display_name(reference), root)
    if not download:
        raise InputError(
            f"{display_name(reference)} is not a folder here, and downloading is switched off; if the library datasets "
            "has it in its cache, allow downloads and set HF_HUB_OFFLINE=1"
        )
    library, where = _library(), display_name(reference)
    with _explained(where):
        splits = library.get_dataset_split_names(rest)
    load = partial(library.load_dataset, rest, cache_dir=_cache(root))
    return _parts({split: partial(_open, load, split, where, f"{display_name(rest)}, {split}") for split in splits})


def open_tables(path: Path, where: str, root: Path | None) -> Parts:
    """Open a .tar or .parquet file, a folder of such files, or what `save_to_disk` of `datasets` wrote."""
    library = _library()
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        with _explained(where):
            saved = library.load_from_disk(path)
            splits = saved if isinstance(saved, library.DatasetDict) else {WHOLE: saved}
        return _parts({split: partial(_open, lambda split: splits[split], split, where, path.name) for split in splits})
    kind = "tar" if path.suffix.lower() == ".tar" or (path.is_dir() and any(path.glob("*.tar"))) else "parquet"
    files = sorted(path.glob(f"*.{kind}")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise InputError(
            f"{where}: there is no {display_name(path)}; valid: .tar or .parquet files, or a folder of them"
        )
    parts = {}
    for split, names in _splits_of(files, where).items():
        load = partial(
            library.load_dataset,
            "webdataset" if kind == "tar" else "parquet",
            data_files={split or "train": [str(name.absolute()) for name in names]},
            cache_dir=_cache(root),
        )
        called = split or f"{path.absolute().parent.name}/{path.name}"
        parts[split] = partial(_open_files, load, names, split, where, f"{path.name}, {called}" if split else called)
    return _parts(parts)


def holds_tables(path: Path) -> bool:
    """Return whether that is a file, or a folder without class folders, that `open_tables` opens."""
    if not path.is_dir():
        return path.suffix.lower() in (".tar", ".parquet")
    saved = (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file()
    files = any(path.glob("*.tar")) or any(path.glob("*.parquet"))
    return saved or (files and not any(child.is_dir() for child in path.iterdir()))


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise missing_extra(error, "reading sets of the Hub, parquet and tar", "data") from error
    return datasets


def _cache(root: Path | None) -> str | None:
    return None if root is None else str(root.expanduser())


def _parts(parts: Parts) -> Parts:
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


def _splits_of(files: Sequence[Path], where: str) -> dict[str, list[Path]]:
    """Group files by the split that their names begin with: train-0000.tar, val.parquet."""
    known = [name for names in CALLED.values() for name in names]
    splits: dict[str, list[Path]] = {}
    for file in files:
        stem = file.stem.lower()
        split = next((name for name in known if stem == name or stem.startswith((f"{name}-", f"{name}_"))), WHOLE)
        splits.setdefault(split, []).append(file)
    if WHOLE in splits and len(splits) > 1:
        raise InputError(
            f"{where} holds {display_name(splits[WHOLE][0].name)} beside files that are named as splits; move one kind "
            "away"
        )
    return splits


def _open_files(load: Callable[..., Any], files: Sequence[Path], split: str, where: str, title: str) -> ImageDataset:
    for file in files:
        if file.suffix == ".tar":
            _check_tar(file)
    classes = files[0].parent / "classes.txt"
    names = classes.read_text("utf-8").splitlines() if classes.is_file() else None
    return _open(load, split or "train", where if not split else f"{where}, {split}", title, names)


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


def _open(
    load: Callable[..., Any], split: str, where: str, title: str, classes: list[str] | None = None
) -> ImageDataset:
    """Open a split in the order of its rows; images are read when they are asked for."""
    library = _library()
    with _explained(where):
        rows = load(split=split)
        image, label = _columns(rows.features, where)
        feature = rows.features[label]
        labels, known = _number(rows[label][:], feature, classes, where)
        rows = rows.cast_column(image, library.Image(decode=False))
        names = _names(rows, image, labels, known)
        lengths = _lengths(rows, image)
        images = rows.select_columns([image])

    def read(key: int) -> bytes:
        try:
            stored = images[key][image]
            return stored["bytes"] or Path(stored["path"]).read_bytes()
        except Exception as error:  # of what Arrow and datasets do not like in a row
            raise InputError(f"{describe(key)} cannot be read: {type(error).__name__}: {error}") from error

    def describe(key: int) -> str:
        return f"image {key} of {where} ({names[key]})"

    store = EncodedStore(read, lengths.__getitem__, describe)
    return label_images(store, len(labels), labels, known, names, where, title, "a table of image files")


def _columns(features: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Return the column of the images, and the one of the labels."""
    library = _library()
    image = _choose(features, _IMAGE_COLUMNS, library.Image)
    label = _choose(features, _LABEL_COLUMNS, library.ClassLabel)
    if image is None or label is None:
        what = "images" if image is None else "labels"
        columns = ", ".join(display_name(name) for name in features)
        valid = " or ".join(_IMAGE_COLUMNS if image is None else _LABEL_COLUMNS)
        raise InputError(f"{where} has no column that must be the {what}; it has {columns}; call it {valid}")
    return image, label


def _choose(features: Mapping[str, Any], usual: Sequence[str], kind: type) -> str | None:
    """Return the first usual name that is there, else the only column of that type."""
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    return next((name for name in usual if name in features), typed[0] if len(typed) == 1 else None)


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
    paths = _flat(rows, image, lambda chunk: chunk.field("path"))
    names = [f"{folder}/{Path(path or '').name}" for folder, path in zip(folders, paths, strict=True)]
    return names if all(paths) and len(set(names)) == len(names) else numbered


def _lengths(rows: datasets.Dataset, image: str) -> list[int]:
    """Return the bytes of the images; none of them is read for it."""
    import pyarrow.compute as compute

    return [length or 0 for length in _flat(rows, image, lambda chunk: compute.binary_length(chunk.field("bytes")))]


def _flat(rows: datasets.Dataset, image: str, pick: Callable[[Any], Any]) -> list[Any]:
    """Return what `pick` takes of the column of images, row by row."""
    values = [value for chunk in rows.data.column(image).chunks for value in pick(chunk).to_pylist()]
    return values if len(values) == len(rows) else [None] * len(rows)  # of rows that were selected, nothing is known
