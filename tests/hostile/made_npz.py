"""Packed splits that no packer wrote: headers that lie, offsets that fall, members twice, bombs, pickles."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 12


@functools.cache
def _images() -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    files = []
    for i in range(COUNT):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG" if i % 3 else "JPEG")
        files.append(file.getvalue())
    return tuple(files)


def arrays() -> dict[str, np.ndarray]:
    """Those of a sound split."""
    return {
        "jpeg": np.frombuffer(b"".join(_images()), np.uint8),
        "offsets": np.cumsum([0, *map(len, _images())]),
        "labels": np.arange(COUNT) % 2,
        "classes": np.array(["cat", "dog"]),
        "numbers": np.arange(COUNT) // 2,
    }


def npy(array: np.ndarray) -> bytes:
    """As numpy stores it, objects as pickles."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=True)
    return file.getvalue()


def with_header(text: str, values: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """An .npy of that header, true or not."""
    header = text.encode() + b"\n"
    code = "<H" if version == (1, 0) else "<I"
    size = struct.pack(code, len(header) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + header + values


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of those, in that order, the same name more than once where it is there so."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as archive:
        for name, content in members:
            with archive.open(zipfile.ZipInfo(name), "w") if not compression else archive.open(name, "w") as stream:
                stream.write(content)
    return file.getvalue()


@functools.cache
def bomb() -> bytes:
    """A .npy of 300 MB of zeros, of which deflate makes 300 kB."""
    return npy(np.zeros(300_000_000, np.uint8))


class Marker:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self._path,)


_Members = dict[str, bytes]


def _wrong_type(rng: random.Random, members: _Members, scratch: Path) -> None:
    name = rng.choice(list(members))
    code = rng.choice(["f8", "f4", "c16", "M8[s]", "S3", "V8", "?", ">f8", "i1", "u8", "U2", "i4,f4"])
    members[name] = npy(np.zeros(len(arrays()[name]), np.dtype(code)))


def _dimensions(rng: random.Random, members: _Members, scratch: Path) -> None:
    name = rng.choice(list(members))
    array = arrays()[name]
    members[name] = npy(rng.choice([array[None], array[:, None], array[:1].reshape(()), array[:0], array[:-1]]))


def _objects(rng: random.Random, members: _Members, scratch: Path) -> None:
    name = rng.choice(list(members))
    members[name] = npy(np.array([Marker(scratch / "ran")] * len(arrays()[name]), object))


def _lying_header(rng: random.Random, members: _Members, scratch: Path) -> None:
    name = rng.choice(list(members))
    array = arrays()[name]
    shape = rng.choice(
        [
            "(1000000000000,)",
            "(-1,)",
            "(-12,)",
            "(True,)",
            "(12.0,)",
            "(99999999999999999999999,)",
            "(3, 4)",
            "()",
            "12",
            "None",
            "('12',)",
            f"({len(array) + 1},)",
            f"({max(0, len(array) - 1)},)",
            "(2**40,)",
            "((12,),)",
        ]
    )
    kind = rng.choice([array.dtype.str] * 4 + ["|O", "<i99", "", "|V1000000000", "|V0", "|U0", "<U99999999"])
    text = rng.choice(
        [f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"] * 8
        + ["{}", "[1, 2]", "(" * 5000, "{'descr': '<i8'}", "__import__('os')", "\x00" * 40, "{'shape': (1,)" * 600]
    )
    version = rng.choice([(1, 0)] * 4 + [(2, 0), (3, 0), (0, 0), (9, 9)])
    length = rng.choice([None] * 4 + [0, 3, 65535])
    members[name] = with_header(text, array.tobytes(), version, length)


def _offsets(rng: random.Random, members: _Members, scratch: Path) -> None:
    ends = arrays()["offsets"].copy()
    place = rng.randrange(len(ends))
    kind = rng.randrange(5)
    if kind == 0:
        ends[place] = rng.choice([-1, -(2**63), 2**63 - 1, 10**9])
    elif kind == 1:
        rng.shuffle(ends)  # type: ignore[arg-type] # an array can be shuffled too
    elif kind == 2:
        ends = ends[::-1]
    elif kind == 3:
        ends[1:3] = (2**63 - 1, -(2**63))  # whose difference is 1 in 64 bits
    else:
        ends = ends.astype(np.uint64)
        ends[place] = 2**64 - 5
    members["offsets"] = npy(np.ascontiguousarray(ends))


def _labels(rng: random.Random, members: _Members, scratch: Path) -> None:
    labels = arrays()["labels"].astype(rng.choice(["int64", "uint64", "int8", ">i4"]))
    labels[rng.randrange(COUNT)] = rng.choice([2, 100, 127])
    if labels.dtype.kind == "i" and rng.random() < 0.5:
        labels[rng.randrange(COUNT)] = -1
    members["labels"] = npy(labels)


def _classes(rng: random.Random, members: _Members, scratch: Path) -> None:
    kind = rng.randrange(4)
    header = "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }"
    members["classes"] = (
        with_header(header, struct.pack("<6I", *(rng.choice([0x110000, 0xFFFFFFFF, 0xD800]) for _ in range(6)))),
        npy(np.array(["cat", "cat"])),
        npy(np.array(["cat", "x" * 5000])),
        npy(np.array(["cat"] + [f"c{i}" for i in range(40)])),
    )[kind]


def _missing(rng: random.Random, members: _Members, scratch: Path) -> None:
    del members[rng.choice(["jpeg", "offsets", "labels", "classes"])]


def _bomb(rng: random.Random, members: _Members, scratch: Path) -> None:
    members[rng.choice(["jpeg", "numbers"])] = bomb()


KINDS = (_wrong_type, _dimensions, _objects, _lying_header, _offsets, _labels, _classes, _missing)


def make_damaged(seed: int, scratch: Path) -> bytes:
    """The same file for the same seed; what is unpickled of it makes `scratch/ran`."""
    rng = random.Random(seed)
    members = {name: npy(array) for name, array in arrays().items()}
    if seed % 100 == 7:  # it takes a second
        _bomb(rng, members, scratch)
        return zipped([(f"{name}.npy", content) for name, content in members.items()], zipfile.ZIP_DEFLATED)
    bytes_alone = rng.random() < 0.3
    if not bytes_alone:
        rng.choice(KINDS)(rng, members, scratch)
    listed = [(f"{name}.npy", content) for name, content in members.items()]
    if rng.random() < 0.1:
        listed.insert(rng.randrange(len(listed)), rng.choice(listed))
    compression = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    whole = zipped(listed, compression)
    return _other_bytes(rng, whole) if bytes_alone else whole


def _other_bytes(rng: random.Random, whole: bytes) -> bytes:
    """Cut, or with other bytes in its headers and directory."""
    if rng.random() < 0.3:
        return whole[: rng.randrange(len(whole))]
    damaged = bytearray(whole)
    directory = whole.rindex(b"PK\1\2") if rng.random() < 0.5 else whole.index(b"PK\1\2")
    # Of a member: flags, method, sum, both sizes, length of the name, place of its header.
    first = rng.choice([8, 10, 16, 20, 24, 28, 42])
    for place in range(directory + first, directory + first + rng.choice([1, 2, 4])):
        damaged[place] = rng.choice([0, 1, 255, rng.randrange(256)])
    if rng.random() < 0.3:
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)
