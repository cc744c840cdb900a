"""Sets of the Hugging Face Hub, .parquet and WebDataset's .tar through the library `datasets`."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os.path import expanduser
from pathlib import Path
from typing import Any

import datasets

from zoo.data import ImageDataset, display_name, label_images, read_file, reading, split_of, stamp_files
from zoo.errors import InputError

_IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls", "fine_label")
"""Usual names of columns; another one is taken if no other column could be meant."""


def open_tables(source: str, files: Sequence[Path], root: Path | None) -> dict[str, ImageDataset]:
    """Open .tar or .parquet files, or `hfds/ORG/NAME` of the Hub, by split; raises `InputError`.

    `root` is the folder where the library keeps what it downloads and converts; None for its own cache.
    """
    where, cache = display_name(source), None if root is None else expanduser(root)
    splits: dict[str, list[str]] = {}
    for file in files:
        if file.suffix.lower() == ".tar":
            _check_tar(file)
        splits.setdefault(split_of(file), []).append(str(file.absolute()))
    kinds = {".tar": "webdataset", ".parquet": "parquet"}
    kind = kinds[files[0].suffix.lower()] if files else source.removeprefix("hfds/")
    classes = files[0].parent / "classes.txt" if files else None
    with reading(where, "check its name or files; classes.txt must be UTF-8"):
        known = classes.read_text("utf-8-sig").splitlines() if classes and classes.is_file() else None
        tables = datasets.load_dataset(kind, data_files=splits or None, cache_dir=cache)
        return {
            split: _open_table(rows, f"{where}, {split}", known, splits.get(split)) for split, rows in tables.items()
        }


def _check_tar(file: Path) -> None:
    """Raise `InputError` if a tar ends before its end mark: Python's tarfile reads one that was cut without a word."""
    with reading(display_name(file), "make or download it again"), file.open("rb") as stream:
        with tarfile.open(fileobj=stream) as archive:
            archive.getmembers()
            end = archive.offset
        stream.seek(end)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it was cut, and lacks the mark of its end")


def _open_table(
    rows: datasets.Dataset, where: str, classes: list[str] | None, files: Sequence[str] | None
) -> ImageDataset:
    """Open a table in the order of its rows, made of `files`; images are read when they are asked for."""
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

    stamp = stamp_files(map(Path, files or [cached["filename"] for cached in rows.cache_files]))
    return replace(label_images(stored, len(labels), labels, known, names, where), stamp=lambda row: stamp)


def _column(features: Mapping[str, Any], usual: Sequence[str], kind: type, where: str) -> str:
    """Return the first usual name of a column that is there, else the only column of that type."""
    usual_ones = [name for name in usual if name in features]
    typed = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not usual_ones and len(typed) != 1:
        columns = ", ".join(map(display_name, features))
        raise InputError(f"{where} has no {kind.__name__} column among {columns}; call it {' or '.join(usual)}")
    return (usual_ones or typed)[0]
