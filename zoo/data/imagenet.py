"""ImageNet 2012 in torchvision's layout; its licence lets nobody download it for you."""

from __future__ import annotations

import pickle
import shutil
import struct
import tarfile
from collections import Counter
from pathlib import Path

from torchvision.datasets import imagenet

from zoo.data.download import locked
from zoo.data.folders import list_classes, name_some
from zoo.data.image_list import Listing
from zoo.data.images import display_name
from zoo.errors import InputError, missing_extra
from zoo.files import move_folder, new_folder

# What torch.load raises on damaged bytes.
_DAMAGE = (
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, AssertionError),
    *(struct.error, pickle.UnpicklingError),
)


def list_imagenet(split: str, root: Path) -> Listing:
    """The images of `train` or `val` below `root/imagenet`, labels in the order of their WordNet ids.

    What lies there as archives is checked and unpacked once: the development kit, and the split that is asked for.

    Raises:
        InputError: something is missing, altered or half unpacked.
    """
    folder = root / "imagenet"
    names = _class_names(folder, root)
    images = folder / split
    if not images.is_dir():
        with locked("imagenet", root):
            if not images.is_dir():
                _unpack(folder, split)
    listing = list_classes(images)
    if set(listing.classes) != set(names):
        file = imagenet.ARCHIVE_META[split][0]
        raise InputError(
            f"{display_name(images)} {_difference(set(names), set(listing.classes))}; "
            f"remove the folder, and it is unpacked again from {file} where that lies beside it"
        )
    titles = _distinct(names)
    return listing.with_classes([titles[wnid] for wnid in listing.classes])


def _difference(wanted: set[str], there: set[str]) -> str:
    missing, foreign = sorted(wanted - there), sorted(there - wanted)
    lacks = f"lacks {len(missing)} of the {len(wanted)} classes ({name_some(missing)})" if missing else ""
    holds = f"holds folders that are not classes ({name_some(foreign)})" if foreign else ""
    return " and ".join(filter(None, (lacks, holds)))


def _class_names(folder: Path, root: Path) -> dict[str, tuple[str, ...]]:
    """Synonyms by WordNet id, from torchvision's meta.bin, which it makes of the development kit."""
    meta = folder / imagenet.META_FILE
    if not meta.is_file():
        with locked("imagenet", root):
            if not meta.is_file():
                _parse_devkit(folder)
    try:
        names, _ = imagenet.load_meta_file(folder)
        return {str(wnid): tuple(synonyms) for wnid, synonyms in names.items()}
    except _DAMAGE as error:
        file = imagenet.ARCHIVE_META["devkit"][0]
        raise InputError(f"{display_name(meta)} is damaged; remove it, and it is made again from {file}") from error


def _parse_devkit(folder: Path) -> None:
    _require(folder, "devkit")
    try:
        imagenet.parse_devkit_archive(folder)
    except ModuleNotFoundError as error:
        raise missing_extra(error, "ImageNet's development kit", "train") from error


def _unpack(folder: Path, split: str) -> None:
    """Unpack a split beside, and rename it when it is whole."""
    _require(folder, split)
    partial = folder / f".{split}.partial"
    parse = imagenet.parse_train_archive if split == "train" else imagenet.parse_val_archive
    try:
        parse(folder, folder=new_folder(partial).name)
        move_folder(partial, folder / split)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        raise InputError(
            f"{imagenet.ARCHIVE_META[split][0]} cannot be unpacked in {display_name(folder)}: {error}"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require(folder: Path, part: str) -> None:
    file, md5 = imagenet.ARCHIVE_META[part]
    if imagenet.check_integrity(folder / file, md5):
        return
    state = "is not the expected archive, its MD5 is another" if (folder / file).is_file() else "is missing"
    instead = (
        "" if part == "devkit" else f", or its images unpacked as {display_name(folder / part)}/<WordNet id>/*.JPEG"
    )
    raise InputError(
        f"{display_name(folder / file)} {state}. imagenet is never downloaded: get an account at "
        f"https://image-net.org/download.php, fetch {file} (MD5 {md5}) and put it there{instead}. "
        "Unpacked train and val folders alone can be used as DATA by their path; the classes are then WordNet ids"
    )


def _distinct(names: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """One title a class: its synonyms, with the id where another class has the same (both cranes)."""
    titles = {wnid: ", ".join(synonyms) for wnid, synonyms in names.items()}
    shared = Counter(titles.values())
    return {wnid: f"{title} ({wnid})" if shared[title] > 1 else title for wnid, title in titles.items()}
