"""Small wheels, written file by file: what a build backend would write of a few modules."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

WORKS = """
from zoo.blocks import BitPlaneEncoder, straight_through_planes

class Thing(BitPlaneEncoder):
    api_version = 1

    def forward(self, x):
        return straight_through_planes(x)
"""
"""The module of an encoder that works."""


def write_wheel(
    folder: Path, name: str, files: Mapping[str, str], entry_points: Mapping[str, Mapping[str, str]]
) -> Path:
    """A wheel of version 1.0.

    Args:
        folder: where it is written.
        name: of the distribution.
        files: path inside the wheel → text.
        entry_points: group → name → value.
    """
    stem = f"{name.replace('-', '_')}-1.0"
    points = "".join(f"[{group}]\n" + _lines(values) + "\n" for group, values in entry_points.items())
    everything = dict(files) | {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": points,
    }
    record = f"{stem}.dist-info/RECORD"
    everything[record] = "".join(_record(path, text) for path, text in everything.items()) + f"{record},,\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in everything.items():
            archive.writestr(inside, text)
    return path


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def _record(path: str, text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(text.encode())}\n"
