"""CIFAR by name: small files in its authors' layout, whole, altered, missing, downloaded and not to be had."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from tests.data.made_archives import CIFAR10_CLASSES, cifar10_files, cifar100_files, md5, serving, tar, write
from zoo.data import download, load_data, load_split
from zoo.errors import InputError

FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small batches, which torchvision takes for the true ones; nobody answers at the address of the archive."""
    files = cifar10_files()
    sums = [[name, md5(data)] for name, data in files.items()]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:6])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums[6][1]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(_archive(files)))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{unused.getsockname()[1]}/{ARCHIVE}")
    return files


def _archive(files: dict[str, bytes]) -> bytes:
    content = tar({f"{FOLDER}/{name}": data for name, data in files.items()})
    # gzip writes the time into its header; without it the same files are the same archive.
    return content[:4] + bytes(4) + content[8:]


@pytest.fixture
def server(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The archive at its address; the requests."""
    write(tmp_path / "server", {ARCHIVE: _archive(files)})
    with serving(tmp_path / "server") as (address, requests):
        monkeypatch.setattr(CIFAR10, "url", f"{address}/{ARCHIVE}")
        yield requests


def _there(root: Path) -> list[str]:
    """What is below a folder, locks aside."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_batches_are_read_as_they_are(files: dict[str, bytes], tmp_path: Path) -> None:
    write(tmp_path / FOLDER, files)
    data = load_data("cifar10", root=tmp_path, download=False)
    assert data.train.classes == CIFAR10_CLASSES
    assert (len(data.train), len(data.val), data.train.size) == (30, 6, (32, 32))
    batch = pickle.loads(files["data_batch_2"])  # noqa: S301
    pixels, labels = data.train.read(torch.arange(6, 12))
    assert np.array_equal(pixels.numpy(), batch["data"].reshape(6, 3, 32, 32))
    assert labels.tolist() == batch["labels"]
    assert data.train.origin == "cifar10, train images: 30 images of 3 classes, stored as pixels, at 32×32 pixels"
    assert data.val.origin.startswith("cifar10, test images: 6 images")
    assert load_split("cifar10", "val", root=tmp_path).fingerprint() == data.val.fingerprint()
    assert data.val.fingerprint() != data.train.fingerprint()


def test_cifar100_has_its_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = cifar100_files()
    write(tmp_path / "cifar-100-python", files)
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5(files["train"])]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5(files["test"])]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(files["meta"])})
    data = load_data("cifar100", root=tmp_path, download=False)
    assert data.train.classes == ("apple", "bear")
    assert data.val.labels.tolist() == [0, 1] * 3


def test_the_archive_is_downloaded_once_checked_and_unpacked(server: list[str], tmp_path: Path) -> None:
    root = tmp_path / "data" / "sets"
    first = load_data("cifar10", root=root)
    asked = len(server)  # torchvision asks twice, for the address and for the file
    again = load_data("cifar10", root=root)
    assert len(server) == asked
    assert again.train.fingerprint() == first.train.fingerprint()
    assert _there(root) == sorted(f"{FOLDER}/{name}" for name in cifar10_files())


def test_processes_that_start_together_download_once(server: list[str], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        splits = list(pool.map(lambda _: load_split("cifar10", "val", root=tmp_path / "data"), range(4)))
    assert len({split.fingerprint() for split in splits}) == 1
    assert sum(request.startswith("HEAD") for request in server) == 1


def test_what_a_killed_download_left_is_no_obstacle(server: list[str], tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root / ".cifar10.partial", {ARCHIVE: b"half", f"{FOLDER}/data_batch_1": b"half"})
    assert len(load_data("cifar10", root=root).train) == 30
    assert not (root / ".cifar10.partial").exists()


def test_the_root_is_zoo_data_unless_named(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sets" / FOLDER, files)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "sets"))
    assert len(load_split("cifar10", "val")) == 6
    monkeypatch.delenv("ZOO_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path / "home/.cache/has8-zoo/datasets" / FOLDER, files)
    assert len(load_split("cifar10", "val")) == 6


def test_an_archive_that_lies_there_needs_no_network(files: dict[str, bytes], tmp_path: Path) -> None:
    write(tmp_path, {ARCHIVE: _archive(files)})
    assert len(load_data("cifar10", root=tmp_path, download=False).train) == 30
    assert (tmp_path / ARCHIVE).read_bytes() == _archive(files)


def test_without_a_network_it_says_what_to_put_where(files: dict[str, bytes], tmp_path: Path) -> None:
    root = tmp_path / "sets"
    with pytest.raises(InputError) as caught:
        load_data("cifar10", root=root)
    message = str(caught.value)
    assert message.startswith(f"cifar10 is not in {root / FOLDER}; downloading")
    assert f"downloading {CIFAR10.url} failed (" in message
    assert "refused" in message
    assert f"fetch {CIFAR10.url} elsewhere (MD5 {CIFAR10.tgz_md5}) and put it there as {root / ARCHIVE}" in message
    assert _there(root) == []
    with pytest.raises(InputError, match=r"downloading is switched off. Where there is no network, fetch http"):
        load_data("cifar10", root=root, download=False)


def test_altered_and_missing_files_are_named_and_never_opened(
    files: dict[str, bytes], tmp_path: Path, server: list[str]
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "opened",)  # type: ignore[return-value]

    write(tmp_path / FOLDER, files | {"data_batch_3": pickle.dumps(Bomb())})
    (tmp_path / FOLDER / "batches.meta").unlink()
    (tmp_path / FOLDER / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"data_batch_3 is altered, batches.meta is missing, and downloading is"):
        load_data("cifar10", root=tmp_path, download=False)
    assert not (tmp_path / "opened").exists()
    assert len(load_data("cifar10", root=tmp_path).train) == 30  # the download mends them
    assert (tmp_path / FOLDER / "mine.txt").read_text() == "kept"
    assert not (tmp_path / "opened").exists()


def test_another_archive_is_refused_and_nothing_of_it_stays(
    server: list[str], files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "server" / ARCHIVE).write_bytes(_archive(files)[:-9])
    root = tmp_path / "data"
    with pytest.raises(InputError, match=r"downloading http.* failed \(File not found or corrupted.\)"):
        load_data("cifar10", root=root)
    assert _there(root) == []
    (tmp_path / "server" / ARCHIVE).unlink()
    with pytest.raises(InputError, match=r"downloading http.* failed \(HTTP Error 404: File not found\)"):
        load_data("cifar10", root=root)
    (root / ARCHIVE).write_bytes(b"half")
    with pytest.raises(
        InputError, match=rf"{ARCHIVE} is not the expected archive, its MD5 is another, and downloading"
    ):
        load_data("cifar10", root=root, download=False)
    assert (root / ARCHIVE).read_bytes() == b"half"


def test_a_server_that_never_answers_is_given_up(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/{ARCHIVE}")
        with pytest.raises(InputError, match=r"failed \(.*timed out"):
            load_data("cifar10", root=tmp_path)


def test_a_root_that_cannot_be_made_is_named(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/sets cannot hold cifar10: .*choose another root"):
        load_data("cifar10", root=tmp_path / "file" / "sets")


def test_the_true_files_are_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz elsewhere"):
        load_data("cifar10", root=tmp_path, download=False)
    write(tmp_path / FOLDER, cifar10_files())
    with pytest.raises(InputError, match=r"data_batch_1 is altered, .*test_batch is altered, batches.meta is altered"):
        load_data("cifar10", root=tmp_path, download=False)
