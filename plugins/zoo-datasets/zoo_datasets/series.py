"""Time series of sensors that the package aeon ships, as frames of one pixel: a channel for each sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from zoo.contracts import Dataset
from zoo.data import ImageDataset, open_frames, reading
from zoo.errors import InputError, MissingExtraError, check_count

Array: TypeAlias = np.ndarray[Any, Any]
MOST_FRAMES = 1024


class Series(Dataset):
    """`NAME` or `NAME:T`: series as T frames (T, C, 1, 1) of bytes.

    Each is brought to T frames, linearly between its values; without T to as many as the longest of training has. Bytes
    divide the range of each sensor in training into 255 steps; what lies outside is at its end.

    Attributes:
        name: what `--data` names.
        loader: of `aeon.datasets`.
    """

    api_version = 1
    name: ClassVar[str]
    loader: ClassVar[str]

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        if rest and not rest.isdecimal():
            raise InputError(f"{self.name} takes T, a whole number, behind a colon, as in {self.name}:16, not {rest!r}")
        training, _ = self._read("train")
        count = check_count(f"T of {self.name}", int(rest), 1, MOST_FRAMES) if rest else max(map(len, training))
        values = np.concatenate(training)
        low, high = values.min(0), values.max(0)
        return {split: self._open_split(split, count, low, high) for split in wanted}

    def _open_split(self, split: str, count: int, low: Array, high: Array) -> ImageDataset:
        series, classes = self._read(split)
        names, labels = np.unique(classes, return_inverse=True)
        resampled = np.stack([resample(each, count) for each in series])
        levels = np.rint(255 * (np.clip(resampled, low, high) - low) / (high - low)).astype(np.uint8)
        return open_frames(levels[..., None, None], labels, names.tolist(), where=f"{self.name}, {split}")

    def _read(self, split: str) -> tuple[list[Array], Array]:
        """Return every series, (T, C) of its own T, and the names of their classes."""
        try:
            from aeon import datasets
        except ImportError as error:
            raise MissingExtraError(f"{self.name} comes with aeon: pip install aeon", name=error.name) from error
        with reading(self.name, "install aeon again"):
            series, classes = getattr(datasets, self.loader)(split="train" if split == "train" else "test")
            return [np.asarray(each).T for each in series], np.asarray(classes)


def resample(series: Array, count: int) -> Array:
    """Bring a series (T, C) to `count` values of each channel, linearly between its own; ends stay ends."""
    places = np.linspace(0, len(series) - 1, count)
    return np.stack([np.interp(places, np.arange(len(series)), channel) for channel in series.T], 1)


class BasicMotions(Series):
    """Four activities by accelerometer and gyroscope of a wrist, 6 channels; 40 series to train with, 40 to test."""

    name, loader = "basicmotions", "load_basic_motions"


class JapaneseVowels(Series):
    """Nine speakers by 12 coefficients of two vowels (doi:10.24432/C5NS47), 7 to 29 values long; 270 and 370 series."""

    name, loader = "japanesevowels", "load_japanese_vowels"
