"""The arrays of an .npz, each by itself: what its header declares first, its values when they are asked for."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, final

import numpy as np
from numpy.lib import format as npy

from zoo.errors import InputError

_GROWTH = 100
"""How many times its compressed size an array may have; JPEGs hardly shrink, and zeros shrink a thousandfold."""

_SMALL = 256 * 2**20
"""Bytes up to which an array may have any size, for labels in their order shrink like zeros."""

_CHUNK = 2**20


@final
@dataclass(frozen=True)
class Header:
    """What an array declares of itself, and what the bytes of its member agree with.

    Attributes:
        dtype: of a value; never objects.
        shape: of the array.
        start: bytes of the member before the values.
        order: `F` where the first axis runs fastest, else `C`.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    order: Literal["C", "F"] = "C"


@final
class ArrayFile:
    """An open .npz. What its methods raise, `open_arrays` makes an `InputError`.

    Attributes:
        names: of the arrays, in the order of the file.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        """Args:
        archive: the .npz.
        path: of it.
        """
        self._archive, self._path, self._size = archive, path, path.stat().st_size
        self.names = tuple(name.removesuffix(".npy") for name in archive.namelist())

    def header(self, name: str) -> Header:
        """Of that array; nothing else of it is read."""
        member = self._member(name)
        with self._archive.open(member) as stream:
            header = _read_header(stream, name)
        declared = header.start + math.prod(header.shape) * header.dtype.itemsize
        if declared != member.file_size:
            raise ValueError(f"the header of {name} declares {declared:,} bytes, and there are {member.file_size:,}")
        return header

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """All values of that array, of its shape."""
        header = self.header(name)
        values = np.empty(math.prod(header.shape) * header.dtype.itemsize, np.uint8)
        with self._archive.open(self._member(name)) as stream:
            stream.read(header.start)  # not `seek`, which gives up the checksum
            done = 0
            while done < len(values):
                chunk = stream.read(min(_CHUNK, len(values) - done))
                if not chunk:
                    raise EOFError(f"{name} ends after {done:,} of {len(values):,} bytes")
                values[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
                done += len(chunk)
            stream.read(1)  # at the end the checksum is looked at
        return values.view(header.dtype).reshape(header.shape, order=header.order)

    def is_stored(self, name: str) -> bool:
        """Whether the values lie in the file as they are, uncompressed."""
        return self._member(name).compress_type == zipfile.ZIP_STORED

    def map(self, name: str) -> np.ndarray[Any, Any]:
        """The same as `read` of an array that is stored, but from the disk when it is looked at, without a checksum."""
        header, member = self.header(name), self._member(name)
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            signature, lengths = struct.unpack("<4s22x4s", file.read(30))
            file.seek(sum(struct.unpack("<HH", lengths)), io.SEEK_CUR)
            start = file.tell()
            if signature != b"PK\x03\x04" or _read_header(file, name) != header:
                raise ValueError(f"{name} does not lie where the table of the file says")
        return np.memmap(self._path, header.dtype, "r", start + header.start, header.shape, header.order)

    def _member(self, name: str) -> zipfile.ZipInfo:
        if self.names.count(name) != 1:
            raise ValueError(f"it holds {name} {self.names.count(name)} times")
        member = self._archive.getinfo(f"{name}.npy")
        stored, unpacked = member.compress_size, member.file_size
        if stored > self._size or (member.compress_type == zipfile.ZIP_STORED and stored != unpacked):
            raise ValueError(f"{name} declares {stored:,} bytes that are not in the file")
        if unpacked > max(_SMALL, _GROWTH * stored):
            raise ValueError(
                f"{name} would grow from {stored:,} bytes to {unpacked:,}; valid: {_GROWTH} times as many at most, "
                "above 256 MiB; write it without compression (numpy.savez)"
            )
        return member


def _read_header(stream: IO[bytes], name: str) -> Header:
    version = npy.read_magic(stream)
    if version != (1, 0):  # later ones are for headers that no row of numbers or names has
        raise ValueError(f"{name} is in version {version[0]}.{version[1]} of the .npy format; valid: 1.0")
    start = stream.tell() - npy.MAGIC_LEN
    shape, by_columns, dtype = npy.read_array_header_1_0(stream)
    length = stream.tell() - start
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"{name} holds {dtype}; valid: numbers or names")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"{name} declares the shape {shape}")
    return Header(dtype, shape, length, "F" if by_columns else "C")


@contextmanager
def open_arrays(path: Path, where: str) -> Iterator[ArrayFile]:
    """The .npz, open.

    Raises:
        InputError: also for whatever is raised while it is open: a damaged file can make numpy and zipfile raise
            errors of any type.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield ArrayFile(archive, path)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} is not an .npz of plain arrays: {reason}; make or download it again") from error
