"""Small data sets in the files of their authors, with the checksums that torchvision then has to expect; a server."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from tests.data.made_data import encoded

CIFAR10_CLASSES = ("airplane", "cat", "ship")


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def cifar10_files(rows: int = 6) -> dict[str, bytes]:
    """Five batches for training, one for testing and the names, as in cifar-10-batches-py."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = {}
    for seed, name in enumerate(names):
        data = np.random.default_rng(seed).integers(0, 256, (rows, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": data, "labels": [(seed + i) % 3 for i in range(rows)]})
    return {**files, "batches.meta": pickle.dumps({"label_names": list(CIFAR10_CLASSES)})}


def cifar100_files(rows: int = 6) -> dict[str, bytes]:
    """The two splits and the names, as in cifar-100-python; the coarse labels must not be taken."""
    files = {}
    for seed, name in enumerate(("train", "test")):
        data = np.random.default_rng(seed).integers(0, 256, (rows, 3072), dtype=np.uint8)
        labels = [i % 2 for i in range(rows)]
        files[name] = pickle.dumps({"data": data, "fine_labels": labels, "coarse_labels": [9] * rows})
    names = {"fine_label_names": ["apple", "bear"], "coarse_label_names": ["food", "beast"]}
    return {**files, "meta": pickle.dumps(names)}


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar archive of files by path."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def caltech101_files(images: int = 3) -> dict[str, bytes]:
    """101 categories and the one that is none, below 101_ObjectCategories."""
    names = ["BACKGROUND_Google", "Faces", "airplanes", *(f"thing{i:02d}" for i in range(99))]
    return {
        f"101_ObjectCategories/{name}/image_{i:04d}.jpg": encoded(bool(i % 2), i, (20 + i, 16))
        for name in names
        for i in range(1, images + 1)
    }


def caltech101_zip(images: int = 3) -> bytes:
    """caltech-101.zip: the categories as an archive in the archive, and others beside it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", tar(caltech101_files(images)))
        archive.writestr("caltech-101/Annotations.tar", tar({"Annotations/a.mat": b"none"}, "w"))
        archive.writestr("__MACOSX/caltech-101/._Annotations.tar", b"junk")
    return content.getvalue()


def caltech256_files(images: int = 2) -> dict[str, bytes]:
    """257 categories below 256_ObjectCategories, one with what else was left in it."""
    names = [f"{i:03d}.thing" for i in range(1, 257)] + ["257.clutter"]
    files = {
        f"256_ObjectCategories/{name}/{name[:3]}_{i:04d}.jpg": encoded(bool(i % 2), i, (240, 226))
        for name in names
        for i in range(1, images + 1)
    }
    return {
        **files,
        "256_ObjectCategories/056.thing/greg/056_0009.jpg": b"junk",
        "256_ObjectCategories/198.thing/RENAME2": b"mv",
    }


def write(root: Path, files: dict[str, bytes]) -> Path:
    """Files by path below a folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server of a folder; its address, and the requests that it has answered."""
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requests.append(f"{self.command} {self.path}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
