"""Distributions as pip leaves them in a folder, and processes in which that folder is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 280

WORKS = """
from zoo.blocks import BitPlaneEncoder, straight_through_planes

class Thing(BitPlaneEncoder):
    \"\"\"Planes of a power.\"\"\"

    api_version = 1

    def forward(self, x):
        return straight_through_planes(x.clamp(min=1e-4) ** {power})
"""
"""Module of an encoder that works, once its power is filled in."""


def put(site: Path, name: str, points: str | bytes, files: Mapping[str, str]) -> Path:
    """Write a distribution of version 1.0: its metadata, and files by their path in `site`; returns `site`."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_bytes(points if isinstance(points, bytes) else points.encode())
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text, encoding="utf-8")
    return site


def run_python(
    code_or_args: str | Sequence[str | Path],
    site: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: int = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run code, or `python` with arguments, in a process that imports from `site` before everything else.

    The working folder is `site` unless given, so that nothing of a source tree is importable by accident.
    """
    arguments = ["-c", code_or_args] if isinstance(code_or_args, str) else [str(argument) for argument in code_or_args]
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | dict(env or {})
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd or site,
        env=environment,
    )
