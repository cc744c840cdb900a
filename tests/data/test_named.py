"""CIFAR by name: small archives in their authors' layout, whole and altered."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from zoo.data import DataOptions, dataset_names, load_data, load_split
from zoo.errors import InputError


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def cifar(kind: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Batches as in the archive, whose checksums torchvision then expects."""
    key, names = (
        ("labels", ["airplane", "cat", "ship"]) if kind is CIFAR10 else ("fine_labels", ["apple", "bear", "cup"])
    )
    files = {}
    batches = [name for name, _ in (*kind.train_list, *kind.test_list)]
    for seed, name in enumerate(batches):
        data = np.random.default_rng(seed).integers(0, 256, (6, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": data, key: [(seed + i) % 3 for i in range(6)], "coarse_labels": [9] * 6})
    files[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: names})
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(kind, listed, [[name, md5(files[name])] for name, _ in getattr(kind, listed)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(files[kind.meta["filename"]])})
    return files


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
def test_cifar_is_read_from_files_or_their_archive_and_never_if_altered(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, name = cifar(kind, monkeypatch), kind.__name__.lower()
    write(tmp_path / "files" / kind.base_folder, files)
    assert name in dataset_names()
    data = load_data(name, DataOptions(root=tmp_path / "files"))
    assert len(data.train.classes) == 3
    assert (len(data.train), len(data.val)) == (6 * len(kind.train_list), 6)
    first = pickle.loads(files[kind.train_list[0][0]])["data"]  # noqa: S301
    assert np.array_equal(data.train.read(torch.arange(6))[0].reshape(6, -1).numpy(), first)

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(tmp_path / "files" / kind.base_folder, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", md5(content.getvalue()))
    write(tmp_path / "archive", {kind.filename: content.getvalue()})
    assert (
        load_split(name, "val", DataOptions(root=tmp_path / "archive")).labels.tolist() == data.val.labels.tolist()
    )  # unpacked

    (tmp_path / "files" / kind.base_folder / kind.test_list[0][0]).write_bytes(b"altered")
    for root in (tmp_path / "files", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"{name}"):
            load_data(name, DataOptions(root=root))
