"""Child processes in whose memory every free place has a neighbour that shows when something was written into it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

_SIZES = tuple(1 << power for power in range(8, 21))
"""Bytes; a gradient and what oneDNN keeps beside it fit into places of these."""
_PLACES = 24
_ROOT = Path(__file__).parents[2]
_VALUE = 0.5


class Neighbours:
    """Blocks of memory with gaps between them, into which what is allocated next comes to lie."""

    def __init__(self) -> None:
        blocks = [torch.full((size // 4,), _VALUE) for _ in range(_PLACES) for size in _SIZES for _ in range(2)]
        self._kept: list[Tensor] = blocks[1::2]
        del blocks

    def check(self) -> None:
        """Raise `MemoryError` where one of them holds something else now."""
        damaged = [kept.nbytes for kept in self._kept if not bool((kept == _VALUE).all())]
        if damaged:
            raise MemoryError(f"{len(damaged)} neighbours of {damaged[:5]} bytes were written into")


def run_guarded(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which can import `Neighbours`; large blocks come from the heap too."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
