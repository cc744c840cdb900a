"""Encoded images with names and labels: what is known of a split before anything is decoded."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from PIL import Image
from torch import Tensor

from zoo.data.images import display_name
from zoo.errors import InputError, shorten, suggest


class ImageStore(ABC):
    """Where encoded images lie, by number.

    Attributes:
        in_memory: whether the bytes are there without reading files.
    """

    in_memory = True

    @abstractmethod
    def name(self, key: int) -> str:
        """`class/file`: which image it is, wherever the data lie."""

    @abstractmethod
    def image(self, key: int) -> Image.Image:
        """Decoded: upright, RGB; raises `InputError`, naming it, where it is damaged."""

    @abstractmethod
    def upright_size(self, key: int) -> tuple[int, int]:
        """(width, height) of `image`, from its header; raises `InputError` where that is damaged."""

    @abstractmethod
    def stored_bytes(self, key: int) -> int:
        """Length of what is stored."""

    @abstractmethod
    def digest(self, key: int) -> bytes:
        """16 bytes that stand for what is stored; raises `InputError`, naming it, where it cannot be read."""

    def image_and_digest(self, key: int) -> tuple[Image.Image, bytes]:
        """`image` and `digest`, where both are wanted."""
        return self.image(key), self.digest(key)

    def modified(self, key: int) -> int:
        """When it was stored, in seconds since 1970; 0 where nothing tells."""
        return 0


@final
@dataclass(frozen=True)
class Listing:
    """The images of a split in their order.

    Attributes:
        store: where they lie.
        keys: (n,) int64, their numbers in the store.
        labels: (n,) int64.
        classes: names in label order.
        where: file or folder, for messages.
        title: what a card may say of that: no path on somebody's machine.
        stored_as: image formats, such as JPEG.
        numbered: whether the classes' names are the numbers of labels that came without names.
        side: pixels a side that images were brought to when they were read, where some were too large to be kept; None
            where all have their own size.
        left_out: what was wrong with each image that could not be read when they were listed, and is not among them.
    """

    store: ImageStore
    keys: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    where: str
    title: str
    stored_as: str
    numbered: bool = False
    side: int | None = None
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Tensor, part: str = "") -> Listing:
        """Those rows alone, which are that part of it."""
        where, title = (f"{text}, {part}" if part else text for text in (self.where, self.title))
        return replace(self, keys=self.keys[rows], labels=self.labels[rows], where=where, title=title)

    def with_classes(self, classes: Sequence[str]) -> Listing:
        """The same with other names for the classes, in the same order."""
        return replace(self, classes=tuple(classes))

    def relabel(self, classes: Sequence[str], owner: str) -> Listing:
        """The same images with the label order of `classes`; raises `InputError` for a class that it lacks.

        Labels without names are matched by number where `classes` have other names than numbers.
        """
        wanted = {name: label for label, name in enumerate(classes)}
        title = self.title
        if self.numbered and not wanted.keys() & set(self.classes):
            wanted = {str(label): label for label in range(len(classes))}
            title = f"{title}, labels by number"
        unknown = [name for name in self.classes if name not in wanted]
        if unknown:
            names = ", ".join(shorten(name) for name in unknown[:5]) + (", …" if len(unknown) > 5 else "")
            raise InputError(
                f"{self.where} has {len(unknown)} of its {len(self.classes)} classes that {owner} lacks: {names}"
                f"{suggest(unknown[0], wanted) if len(wanted) <= 20 else ''}"
            )
        table = torch.tensor([wanted[name] for name in self.classes], dtype=torch.int64)
        return replace(self, labels=table[self.labels], classes=tuple(classes), title=title, numbered=False)

    def fingerprint(self, size: tuple[int, int]) -> str:
        """A short hash of classes, names, labels, stored lengths and the size they are brought to; not of bytes."""
        digest = hashlib.sha256(repr((self.classes, size)).encode())
        for key, label in zip(self.keys.tolist(), self.labels.tolist(), strict=True):
            digest.update(f"{self.store.name(key)}\0{label}\0{self.store.stored_bytes(key)}\n".encode(errors="replace"))
        return digest.hexdigest()[:16]


def title_of(path: Path) -> str:
    """The last two names of a path."""
    return display_name("/".join(path.absolute().parts[1:][-2:]))
