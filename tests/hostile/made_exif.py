"""Images with EXIF that no camera wrote: tags of every type, pointers in circles, counts that lie."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
FORMATS = ("jpg", "png", "png-text", "webp", "tif")

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value by EXIF type: BYTE, ASCII, SHORT, LONG, RATIONAL, …, FLOAT, DOUBLE, IFD, LONG8."""

_TEXTS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x9C9B, 0x9003)
_NUMBERS = (0x011A, 0x011B, 0x0128, 0x0213, 0x0214, 0x829A, 0x829D, 0x8827, 0xA002, 0xEA1C)
_POINTERS = (0x8769, 0x8825, 0xA005, 0x014A)

PIXELS = np.random.default_rng(5).integers(0, 2, (16, 24, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)[:16, :24] * 255
"""Eight-pixel squares of plain colours, (16, 24, 3), which JPEG keeps nearly as they are."""


@dataclass
class Hostile:
    """One file.

    Attributes:
        suffix: of its name.
        content: its bytes.
        orientation: what its tag holds as one SHORT or LONG; None where the tag is missing or of another type.
        sound: whether counts, offsets and pointers are all right, so that it must be read.
    """

    suffix: str
    content: bytes
    orientation: int | None
    sound: bool


@dataclass
class Directory:
    """Entries (tag, type, count, the bytes of the values), in the order in which they are written."""

    little: bool
    entries: list[tuple[int, int, int, bytes]] = field(default_factory=list)

    def pack(self, code: str, *values: float) -> bytes:
        return struct.pack(("<" if self.little else ">") + code, *values)

    def block(self, following: int, strip: bytes = b"") -> bytes:
        """A TIFF file of this directory; `strip` comes last, and its offset replaces the value of tag 0x0111."""
        start = 8
        behind = start + 2 + 12 * len(self.entries) + 4
        long = [values for _, _, _, values in self.entries if len(values) > 4]
        strip_at = behind + sum(map(len, long))
        head = (b"II*\0" if self.little else b"MM\0*") + self.pack("L", start)
        rows, values_behind = b"", b""
        for tag, kind, count, values in self.entries:
            if tag == 0x0111:
                values = self.pack("L", strip_at)
            if len(values) > 4:
                inline = self.pack("L", behind + len(values_behind))
                values_behind += values
            else:
                inline = values.ljust(4, b"\0")
            rows += self.pack("HHL", tag, kind, count) + inline
        return head + self.pack("H", len(self.entries)) + rows + self.pack("L", following) + values_behind + strip


def make_hostile(seed: int) -> Hostile:
    """The same file for the same seed."""
    rng = random.Random(seed)
    suffix = rng.choice(FORMATS)
    little, sound = rng.random() < 0.5, True
    directory = Directory(little)
    orientation, entry = _orientation(rng, directory)
    directory.entries += [_tag(rng, directory, rng.choice(_TEXTS + _NUMBERS)) for _ in range(rng.randrange(5))]
    if entry is not None:
        directory.entries.insert(rng.randrange(len(directory.entries) + 1), entry)
    following = 0
    for damage in rng.sample((_pointer, _count, _strange_type), rng.randrange(4)) if rng.random() < 0.6 else ():
        damage(rng, directory)
        sound = False
    if rng.random() < 0.1:
        following, sound = rng.choice((8, 9, 0xFFFFFFFF, 20)), False
    strip = b""
    if suffix == "tif":
        add_image_tags(directory)
        strip = PIXELS.tobytes()
    block = directory.block(following, strip)
    if rng.random() < 0.15 and suffix != "tif":
        block, sound = _broken(rng, block), False
    if rng.random() < 0.05 and suffix == "tif":
        block, sound = block[: rng.randrange(8, len(block))], False
    return Hostile(suffix.partition("-")[0], wrapped(suffix, block), orientation, sound)


def _orientation(rng: random.Random, into: Directory) -> tuple[int | None, tuple[int, int, int, bytes] | None]:
    """The value of the tag, where it is one whole number, and its entry."""
    value = rng.choice((*range(1, 9), *range(1, 9), 0, 9, 65535))
    kind: Any = rng.choice((3, 3, 3, 3, 3, 4, "missing", "odd"))
    if kind == "missing":
        return None, None
    if kind == "odd":
        return None, _tag(rng, into, ORIENTATION, value % 10, but=(3, 4))
    return value, (ORIENTATION, kind, 1, into.pack("H" if kind == 3 else "L", value))


def _tag(
    rng: random.Random, into: Directory, tag: int, value: int = 7, but: tuple[int, ...] = ()
) -> tuple[int, int, int, bytes]:
    """An entry of a random type, sound in itself."""
    kind = rng.choice([kind for kind in _SIZES if kind not in (*but, 16)])
    count = rng.choice((1, 1, 1, 2, 5))
    codes = {3: "H", 4: "L", 8: "h", 9: "l", 11: "f", 12: "d", 13: "L"}
    if kind in (5, 10):
        values = into.pack("LL" if kind == 5 else "ll", value, rng.choice((0, 1, 1, 3))) * count
    elif kind in codes:
        values = into.pack(codes[kind], value) * count
    else:
        values = rng.choice((bytes([value]), str(value).encode()[:1], b"\0", b"\xff")) * count
    return tag, kind, count, values


def _pointer(rng: random.Random, into: Directory) -> None:
    """A pointer to another directory: in a circle, into nothing, or of a type that points nowhere."""
    tag = rng.choice(_POINTERS)
    if rng.random() < 0.3:
        entry = _tag(rng, into, tag)
    else:
        target = rng.choice((8, 0, 9, 26, 10**6, 2**31, 2**32 - 1))
        entry = (tag, rng.choice((4, 13)), 1, into.pack("L", target))
    into.entries.insert(rng.randrange(len(into.entries) + 1), entry)


def _count(rng: random.Random, into: Directory) -> None:
    """A count that is not that of the values."""
    if into.entries:
        place = rng.randrange(len(into.entries))
        tag, kind, _, values = into.entries[place]
        if tag != ORIENTATION:
            into.entries[place] = (tag, kind, rng.choice((0, 3, 300, 2**28, 2**31, 2**32 - 1)), values)


def _strange_type(rng: random.Random, into: Directory) -> None:
    """A type that there is not, or an eight-byte one."""
    entry = (rng.choice(_TEXTS + _NUMBERS), rng.choice((0, 14, 15, 16, 17, 18, 129, 65535)), 1, b"\1\2\3\4")
    into.entries.append(entry)


def _broken(rng: random.Random, block: bytes) -> bytes:
    """Cut, with other bytes in it, or something else altogether."""
    kind = rng.randrange(4)
    if kind == 0:
        return block[: rng.randrange(len(block))]
    if kind == 1:
        damaged = bytearray(block)
        for _ in range(4):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return bytes(damaged)
    return (b"", b"Exif\0\0" * 3 + block)[kind - 2]


def add_image_tags(into: Directory) -> None:
    """What makes of the directory an uncompressed TIFF of `PIXELS`."""
    height, width = PIXELS.shape[:2]
    short, long = (3, "H"), (4, "L")
    values = [
        *((0x0100, *short, width), (0x0101, *short, height), (0x0103, *short, 1), (0x0106, *short, 2)),
        *((0x0111, *long, 0), (0x0115, *short, 3), (0x0116, *short, height), (0x0117, *long, PIXELS.size)),
    ]
    into.entries += [(tag, kind, 1, into.pack(code, value)) for tag, kind, code, value in values]
    into.entries.append((0x0102, 3, 3, into.pack("HHH", 8, 8, 8)))


def wrapped(suffix: str, block: bytes) -> bytes:
    """An image file with that block for its EXIF."""
    if suffix == "tif":
        return block
    plain = _plain_image(suffix)
    if suffix == "jpg":
        payload = b"Exif\0\0" + block
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + plain[2:]
    if suffix == "webp":
        return _plain_webp(b"Exif\0\0" + block)
    name, body = b"eXIf", block
    if suffix == "png-text":
        data = b"Exif\0\0" + block
        name, body = b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return plain[:33] + chunk + plain[33:]  # right behind the header


def _plain_webp(exif: bytes) -> bytes:
    """`PIXELS` as a lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "WEBP", lossless=True, exif=exif)
    return file.getvalue()


def _plain_image(suffix: str) -> bytes:
    """`PIXELS` without EXIF."""
    file = io.BytesIO()
    kind = "JPEG" if suffix == "jpg" else "PNG"
    Image.fromarray(PIXELS).save(file, kind, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    return file.getvalue()
