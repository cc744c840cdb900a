"""What a user names as data: which splits it has, and how each is listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, final

import torch

from zoo.data.divide import divide
from zoo.data.folders import holds_images, list_classes, name_some, subfolders
from zoo.data.image_list import Listing
from zoo.data.images import display_name
from zoo.data.in_hand import ImagesInHand
from zoo.data.named import dataset_names, default_root, list_named
from zoo.data.packed import WHOLE, list_parts
from zoo.data.references import is_reference, refuse_unread
from zoo.errors import InputError, suggest

Split = Literal["train", "val"]

CALLED: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
"""What a split's folder or .npz may be called, first come first served: `test` is used where there is no `val`."""

Parts = Mapping[str, Callable[[], Listing]]
"""The splits that there are, by name, and what lists each; what nobody has divided is `WHOLE`."""


@final
@dataclass(frozen=True)
class Source:
    """What the user named, and how to get at it; `zoo.data.load_data` says what each means.

    Attributes:
        named: a reference, a path, the name of a data set, or images in memory.
        root: where data sets by name are kept; None for the default.
        seed: of the division 80/20.
        download: whether a data set by name may be downloaded.
        image_size: pixels a side that images are wanted in; None for their own.
        spool: folder for what a stream is read into meanwhile; None for the system's temporary one.
        max_damaged: images of a stream that are skipped before it is an error.
    """

    named: str | Path | ImagesInHand
    root: Path | None = None
    seed: int = 3407
    download: bool = True
    image_size: int | None = None
    spool: Path | None = None
    max_damaged: int = 100

    @property
    def is_named(self) -> bool:
        """Whether it is a reference or the name of a data set, and no path."""
        return is_reference(self.named) or (isinstance(self.named, str) and self.named in dataset_names())

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether that file, or that folder without class folders, is data with labels."""
        if path.is_dir():
            return any(path.glob("*.npz")) or any(path.glob("*.parquet")) or any(path.glob("*.tar"))
        return path.suffix.lower() in (".npz", ".tar", ".parquet")

    def listings(self, splits: Sequence[Split], whole: bool) -> list[Listing]:
        """Those splits; what is not divided is given as it is where it may be `whole`, else divided."""
        parts = self.parts()
        if WHOLE not in parts:
            return [parts[self._find(parts, split)]() for split in splits]
        listing = parts[WHOLE]()
        if whole:
            return [listing] * len(splits)
        check_classes(listing)
        divided = dict(zip(CALLED, divide(listing, self.seed), strict=True))
        return [divided[split] for split in splits]

    def parts(self) -> Parts:
        """The splits that there are; none of them is read before it is asked for.

        Raises:
            InputError: there is no such data.
            MissingExtraError: what reads them is not installed.
        """
        if isinstance(self.named, ImagesInHand):
            return {split: partial(_same, listing) for split, listing in self.named.parts.items()}
        if is_reference(self.named):
            from zoo.data.readers import open_reference  # which needs timm

            return open_reference(str(self.named), self)
        if isinstance(self.named, str) and self.named in dataset_names():
            root = (self.root or default_root()).expanduser()
            return {split: partial(_list_named, self.named, split, root, self.seed, self.download) for split in CALLED}
        return self._parts_of_path(Path(self.named).expanduser())

    def _parts_of_path(self, path: Path) -> Parts:
        if not path.exists():
            raise self._unknown()
        refuse_unread(path)
        if path.is_file():
            return {split: partial(_same, listing) for split, listing in list_parts(path).items()}
        packed, folders = _packed_splits(path), _split_folders(path)
        if packed and folders:
            raise InputError(f"{display_name(path)} holds splits both as .npz and as folders; name one of them alone")
        if packed:
            return {split: partial(_list_one, file) for split, file in packed.items()}
        if folders:
            return {split: partial(list_classes, folder) for split, folder in folders.items()}
        return {WHOLE: partial(list_classes, path)}

    def _unknown(self) -> InputError:
        named = str(self.named)  # not as a path, which would take `hf://` for `hf:/`
        where = display_name(named)
        scheme, separator, rest = named.partition("://")
        if separator:
            hub = (
                f"hfds/{display_name(rest.removeprefix('datasets/'))}" if scheme in ("hf", "hfds") else "hfds/ORG/NAME"
            )
            return InputError(
                f"{where} is not a folder, an .npz file or a data set by name, and addresses are not read; a set of "
                f"the Hub is named {hub}, and files elsewhere are downloaded first"
            )
        return InputError(
            f"{where} is not a folder, an .npz file or a data set by name{suggest(named, dataset_names())}"
        )

    def _find(self, parts: Parts, split: Split) -> str:
        """What the split is called here."""
        for name in CALLED[split]:
            if name in parts:
                return name
        there = name_some([_file_name(self.named, name) for name in parts])
        where = "the mapping" if isinstance(self.named, ImagesInHand) else display_name(str(self.named))
        alone = ""
        if isinstance(self.named, str | Path) and Path(self.named).expanduser().is_dir():
            only = Path(self.named).expanduser() / _file_name(self.named, next(iter(parts)))
            alone = f"; name {display_name(only)} itself to have it divided 80/20"
        raise InputError(
            f"{where} has {there}, but no {split} split, which may be called {', '.join(CALLED[split])}{alone}"
        )


def check_classes(listing: Listing) -> None:
    """Raise `InputError` where there is nothing to tell apart, or a class without an image."""
    if len(listing.classes) < 2:
        only = f" ({name_some(listing.classes)})" if listing.classes else ""
        raise InputError(f"{listing.where} has {len(listing.classes)} class{only}; at least two are needed")
    counts = torch.bincount(listing.labels, minlength=len(listing.classes))
    empty = [name for name, count in zip(listing.classes, counts.tolist(), strict=True) if not count]
    if empty:
        raise InputError(f"{listing.where} has no images of {name_some(empty)}")


def _same(listing: Listing) -> Listing:
    return listing


def _list_named(name: str, split: str, root: Path, seed: int, download: bool) -> Listing:
    return list_named(name, [split], root, seed, download)[0]


def _list_one(file: Path) -> Listing:
    """All images of an .npz that is a split as it lies there."""
    parts = list_parts(file)
    if WHOLE not in parts:
        raise InputError(
            f"{display_name(file)} is divided itself, into {name_some(list(parts))}; name it alone, or take its array "
            "split out"
        )
    return parts[WHOLE]


def _packed_splits(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.npz" for names in CALLED.values() for name in names}
    return {name: path for name, path in files.items() if path.is_file()}


def _split_folders(folder: Path) -> dict[str, Path]:
    """Folders called as splits are; beside others, one with images in itself is a class, such as train and bus."""
    called = {name for names in CALLED.values() for name in names}
    there = subfolders(folder)
    alone = called.issuperset(there)
    return {name: folder / name for name in there if name in called and (alone or not holds_images(folder / name))}


def _file_name(named: object, split: str) -> str:
    """The folder or file that a split is in a folder."""
    if isinstance(named, str | Path) and (Path(named).expanduser() / f"{split}.npz").is_file():
        return f"{split}.npz"
    return split
