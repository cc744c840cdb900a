"""Small data sets for tests: image files, and the same images in every form that DATA may have."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def encoded(bright: bool, seed: int, size: tuple[int, int] = (16, 16), kind: str = "JPEG") -> bytes:
    """Noise of levels 0…99, or 150…249, of that (width, height), as the bytes of an image file."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 100, (size[1], size[0], 3)) + (150 if bright else 0)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind, quality=90)
    return file.getvalue()


def packed(path: Path, count: int = 24, damaged: Collection[int] = (), **changes: np.ndarray) -> Path:
    """JPEGs of two kinds, dark and bright in turn, packed as CIFAR-10 is; `changes` replaces arrays."""
    files = [b"no image" if i in damaged else encoded(bool(i % 2), i) for i in range(count)]
    return _packed_files(path, files, **({"labels": np.arange(count) % 2, "classes": ["dark", "bright"]} | changes))


def _packed_files(path: Path, files: list[bytes], **arrays: Any) -> Path:
    encoded = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "offsets": np.cumsum([0, *map(len, files)])}
    np.savez(path, allow_pickle=True, **(encoded | arrays))
    return path


def folder(path: Path, counts: Mapping[str, int], size: tuple[int, int] = (16, 16)) -> Path:
    """A folder of class folders, that many JPEGs in each, the first class dark, the second bright, …."""
    for number, (name, count) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for i in range(count):
            (path / name / f"{i:05d}.jpg").write_bytes(encoded(bool(number % 2), i, size))
    return path


def files_of(source: Path) -> tuple[list[bytes], list[int], list[str], list[str]]:
    """Contents, labels, `class/file` and classes of a folder of class folders."""
    files = sorted(source.glob("*/*"))
    classes = sorted(entry.name for entry in source.iterdir())
    names = [file.relative_to(source).as_posix() for file in files]
    return [file.read_bytes() for file in files], [classes.index(file.parent.name) for file in files], names, classes


def parquet(source: Path, out: Path) -> Path:
    """The files of a folder, embedded in a .parquet file."""
    import datasets

    contents, labels, names, classes = files_of(source)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=classes))
    images = [{"bytes": content, "path": Path(name).name} for content, name in zip(contents, names, strict=True)]
    out.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict({"image": images, "label": labels}, features).to_parquet(out)
    return out


def tar(source: Path, out: Path) -> Path:
    """The files of a folder as samples of WebDataset, with classes.txt beside."""
    contents, labels, names, classes = files_of(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w") as archive:
        for content, label, name in zip(contents, labels, names, strict=True):
            key = name.rpartition(".")[0]
            for suffix, data in (("jpg", content), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    (out.parent / "classes.txt").write_text("\n".join(classes) + "\n")
    return out


def npz_of_files(source: Path, out: Path) -> Path:
    """The files of a folder, encoded as they are, in an .npz."""
    contents, labels, _, classes = files_of(source)
    return _packed_files(out, contents, labels=labels, classes=classes)


def arrays(source: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[str]]:
    """Pixels, labels and classes of a folder whose images have one size."""
    contents, labels, _, classes = files_of(source)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in contents])
    return pixels, np.array(labels), classes
