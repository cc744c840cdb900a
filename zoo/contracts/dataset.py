"""Contract of data sets that a package offers by name, in the entry-point group `zoo.datasets`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar


class Dataset(ABC):
    """Labelled images or frames for `--data NAME` or `--data NAME:REST`."""

    api_version: ClassVar[int]

    @abstractmethod
    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, Any]:
        """Open the splits of `wanted`, by their names, or all items as `zoo.data.datasets.WHOLE` if they are undivided.

        Each is a `zoo.data.ImageDataset`, as `zoo.data.open_arrays` and `open_frames` make them.

        Args:
            rest: what stands behind the colon; '' without one.
            wanted: 'train', 'val', or both.
            root: the folder of named data sets (`--data-root`).

        Raises:
            InputError: the data are not there, or cannot be used; it says what to do next.
        """
