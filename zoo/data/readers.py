"""Sets of the Hugging Face Hub and of WebDataset, read by timm's readers: `hfds/…`, `hfids/…`, `wds/…`."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from PIL import Image

from zoo.data.fingerprints import hash_buffer
from zoo.data.image_list import ImageStore, Listing
from zoo.data.images import decode_image, display_name, upright_rgb, upright_size
from zoo.data.packed import WHOLE
from zoo.data.pixels import check_labels, list_pixels, number_names
from zoo.data.references import refuse_saved
from zoo.data.spool import StreamedImage, spool
from zoo.errors import InputError, missing_extra

if TYPE_CHECKING:
    from zoo.data.source import Parts, Source

try:
    import datasets
    import pyarrow.compute as compute
    import webdataset  # noqa: F401 (timm's reader imports it later, and would not say how to install it)
    from timm.data.readers import create_reader
    from timm.data.readers.reader_wds import ReaderWds
except ImportError as error:
    raise missing_extra(error, "reading hfds/, hfids/ and wds/", "data") from error

_IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
_LABEL_COLUMNS = ("label", "labels", "cls")
"""What columns are called most often; another one is taken where no other column could be meant."""

_INFO = ("_info.json", "info.json")
"""What timm's conversion scripts write beside tar files."""

_CUT = ("ReadError(", "StreamError(", "EOFError(")
"""What tarfile raises on a damaged archive."""


def open_reference(reference: str, source: Source) -> Parts:
    """The splits of a reference; one split alone, whatever its name, is `WHOLE`.

    Raises:
        InputError: there is no such set, or it holds no images with labels.
    """
    prefix, _, rest = reference.partition("/")
    where = display_name(reference)
    if prefix.lower() == "wds":
        if ":" in rest.partition("/")[0]:
            raise InputError(f"{where} is an address; wds/ reads files: download the tar files, and name their folder")
        return _open_tars(Path(rest).expanduser(), where, source)
    name = str(Path(rest).expanduser()) if rest.startswith("~") else rest
    local = Path(name).is_dir()
    if local:
        refuse_saved(Path(name))
    elif not source.download:
        raise InputError(
            f"{where} is not a folder here, and downloading is switched off; where the library datasets has it in its "
            "cache, allow downloads and set HF_HUB_OFFLINE=1"
        )
    with _explained(where):
        splits = datasets.get_dataset_split_names(name)
    streamed = prefix.lower() == "hfids"
    read = _stream_hub if streamed else _list_hub
    parts = {split: partial(read, name, split, where, source) for split in splits}
    return parts if len(parts) > 1 else dict.fromkeys((WHOLE,), *parts.values())


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Make an `InputError` of whatever these libraries raise."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # they raise errors of any type, also of libraries below them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{where} cannot be read by timm's reader: {reason}; check the name after the first slash: a folder of "
            ".parquet files, or ORG/NAME of the Hub"
        ) from error


def _cache(source: Source) -> str | None:
    return None if source.root is None else str(source.root.expanduser())


# By index -------------------------------------------------------------------------------------------------------------


@final
class HubStore(ImageStore):
    """Encoded images of a set of the Hub, by row.

    Args:
        reader: timm's.
        names: (n,).
        lengths: (n,), bytes of each.
        where: for messages.
    """

    in_memory = False

    def __init__(self, reader: Any, names: list[str], lengths: list[int], where: str) -> None:
        self._reader, self._names, self._lengths, self._where = reader, names, lengths, where

    def name(self, key: int) -> str:
        return self._names[key]

    def image(self, key: int) -> Image.Image:
        return self.image_and_digest(key)[0]

    def upright_size(self, key: int) -> tuple[int, int]:
        with self._open(key) as file:
            return upright_size(file, self._title(key))

    def stored_bytes(self, key: int) -> int:
        return self._lengths[key]

    def digest(self, key: int) -> bytes:
        with self._open(key) as file:
            return hash_buffer(file.read())

    def image_and_digest(self, key: int) -> tuple[Image.Image, bytes]:
        with self._open(key) as file:
            digest = hash_buffer(file.read())
            file.seek(0)
            return decode_image(file, self._title(key)), digest

    def _open(self, key: int) -> Any:
        try:
            return self._reader[key][0]
        except Exception as error:  # of what Arrow and datasets do not like in a row
            raise InputError(f"{self._title(key)} cannot be read: {type(error).__name__}: {error}") from error

    def _title(self, key: int) -> str:
        return f"image {key} of {self._where} ({self._names[key]})"


def _list_hub(name: str, split: str, where: str, source: Source) -> Listing:
    """A split, in the order of its rows."""
    with _explained(where):
        features = _features(name, split)
        image, label = _columns(features, where)
        reader = create_reader(f"hfds/{name}", root=_cache(source), split=split, input_key=image, target_key=label)
        labels, classes = _number(list(reader.iter_targets()), _class_names(features[label]), where)
        check_labels(labels, classes, where)
        paths, lengths = _paths_and_lengths(reader.dataset, image)
        names = _unique_names(paths, number_names(labels, classes))
    store = HubStore(reader, names, lengths, where)
    return list_pixels(
        store, labels, classes, where=f"{where}, {split}", title=_title(name, split), stored_as="a set of the Hub"
    )


def _features(name: str, split: str) -> Mapping[str, Any]:
    """The columns of a split and their types, before all of it is downloaded."""
    streamed = datasets.load_dataset(name, split=split, streaming=True)
    return dict(streamed.features or streamed._resolve_features().features)


def _columns(features: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The column of the images, and the one of the labels."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    image = _choose(features, _IMAGE_COLUMNS, images)
    label = _choose(features, _LABEL_COLUMNS, labels)
    if image is None or label is None:
        what = "images" if image is None else "labels"
        columns = ", ".join(display_name(name) for name in features)
        valid = " or ".join(_IMAGE_COLUMNS if image is None else _LABEL_COLUMNS)
        raise InputError(f"{where} has no column that must be the {what}; it has {columns}; call it {valid}")
    return image, label


def _choose(features: Mapping[str, Any], usual: tuple[str, ...], typed: list[str]) -> str | None:
    """The first usual name that is there, else the only column of that type."""
    return next((name for name in usual if name in features), typed[0] if len(typed) == 1 else None)


def _class_names(feature: Any) -> list[str] | None:
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def _number(labels: list[Any], classes: list[str] | None, where: str) -> tuple[np.ndarray[Any, Any], list[str] | None]:
    """Labels as integers, and the classes' names; texts are numbered in their order, as folders are."""
    if any(label is None or label == -1 for label in labels):
        raise InputError(f"{where} has images without a label; name a set whose images all have one")
    if labels and all(isinstance(label, str) for label in labels):
        classes = sorted(set(labels))
        numbers = {name: number for number, name in enumerate(classes)}
        labels = [numbers[label] for label in labels]
    if not all(isinstance(label, int) for label in labels):
        raise InputError(f"{where} has labels that are neither integers nor names; a network is taught one class each")
    return np.array(labels, np.int64), classes


def _paths_and_lengths(rows: Any, image: str) -> tuple[list[str], list[int]]:
    """What the images' files were called, '' where nothing tells, and their bytes; no image is read for it."""
    paths: list[str] = []
    lengths: list[int] = []
    for chunk in rows.data.column(image).chunks:
        paths += [path or "" for path in chunk.field("path").to_pylist()]
        lengths += [length or 0 for length in compute.binary_length(chunk.field("bytes")).to_pylist()]
    outside = [
        Path(path).stat().st_size if path and not length else length
        for path, length in zip(paths, lengths, strict=True)
    ]
    return paths, outside


def _unique_names(paths: list[str], numbered: list[str]) -> list[str]:
    """`class/file` where every image has a file name of its own in its class, else `class/number`."""
    folders = (name.rpartition("/")[0] for name in numbered)
    names = [f"{folder}/{Path(path).name}" for folder, path in zip(folders, paths, strict=True)]
    return names if all(paths) and len(set(names)) == len(names) else numbered


def _title(name: str, split: str) -> str:
    """What a card may say: no path on somebody's machine."""
    last = "/".join(Path(name).absolute().parts[-2:]) if Path(name).is_dir() else name
    return f"{display_name(last)}, {split}"


# Streams --------------------------------------------------------------------------------------------------------------


def _stream_hub(name: str, split: str, where: str, source: Source) -> Listing:
    """A split of the Hub, read as a stream."""
    with _explained(where):
        features = _features(name, split)
        image, label = _columns(features, where)
        reader = create_reader(
            f"hfids/{name}",
            root=_cache(source),
            split=split,
            is_training=False,
            input_key=image,
            input_img_mode="",  # as it is: of transparency and 16 bits timm would make something else than we do
            target_key=label,
            num_samples=1,  # the reader insists on a number, and uses it in training alone
        )
        _alone(reader)
        images = (StreamedImage(_decoded(pixels, where), _label(target, where), "") for pixels, target in reader)
        return spool(
            images,
            _class_names(features[label]),
            where=f"{where}, {split}",
            title=_title(name, split),
            image_size=source.image_size,
            folder=source.spool,
        )


def _alone(reader: Any) -> None:
    """Let this process read all of the stream, also where several train together."""
    reader.dist_rank, reader.dist_num_replicas = 0, 1


def _decoded(pixels: Any, where: str) -> Image.Image:
    """An image of a stream, which a file of another library may hold as it is stored."""
    if isinstance(pixels, dict):
        return decode_image(io.BytesIO(pixels["bytes"]), where)
    return upright_rgb(pixels, where)


def _label(target: Any, where: str) -> int:
    if not isinstance(target, int):
        raise InputError(
            f"{where} has the label {target!r:.40}; of a stream, labels must be integers; hfds/ reads names too"
        )
    return target


@final
class _NamedWds(ReaderWds):
    """timm's reader, which also tells each sample's key."""

    def samples(self) -> Iterator[StreamedImage]:
        """All samples, in the order of the files."""
        if self.ds is None:
            self._lazy_init()
        for sample in self.ds:
            key = str(sample["__key__"])
            yield StreamedImage(upright_rgb(sample["image"], key), int(sample["target"]), f"{key}.jpg")


def _open_tars(path: Path, where: str, source: Source) -> Parts:
    """The splits of a tar file, of several as `train-{0000..0009}.tar`, or of a folder of them."""
    if path.is_dir():
        splits = _splits_of_info(path, where) or _splits_of_names(path, where)
        root = path
    elif path.is_file() or "{" in path.name:
        splits, root = {WHOLE: path.name}, path.parent
    else:
        raise InputError(f"{where}: there is no {display_name(path)}; valid: a .tar file, or a folder of them")
    read = partial(_read_tars, root, where, source)
    parts = {split: partial(read, split, files) for split, files in splits.items()}
    return parts if len(parts) > 1 else dict.fromkeys((WHOLE,), *parts.values())


def _splits_of_info(folder: Path, where: str) -> dict[str, str]:
    """What an info file calls the splits; empty without one."""
    for name in _INFO:
        if (folder / name).is_file():
            try:
                return {str(split): str(split) for split in json.loads((folder / name).read_text("utf-8"))["splits"]}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{where}: {name} names no splits ({type(error).__name__}); mend or remove it"
                ) from error
    return {}


def _splits_of_names(folder: Path, where: str) -> dict[str, str]:
    """Tar files by what their names begin with: train-0000.tar, val.tar; in the form that timm's reader takes."""
    from zoo.data.source import CALLED

    files = sorted(file.name for file in folder.glob("*.tar"))
    if not files:
        raise InputError(f"{where} holds no .tar files; valid: a .tar file, or a folder of them")
    known = [name for names in CALLED.values() for name in names]
    splits: dict[str, list[str]] = {}
    for file in files:
        stem = file.removesuffix(".tar").lower()
        split = next((name for name in known if stem == name or stem.startswith((f"{name}-", f"{name}_"))), WHOLE)
        splits.setdefault(split, []).append(file)
    if WHOLE in splits and len(splits) > 1:
        raise InputError(
            f"{where} holds {display_name(splits[WHOLE][0])} beside files that are named as splits; move one kind away"
        )
    return {split: "::".join(names) for split, names in splits.items()}


def _read_tars(root: Path, where: str, source: Source, split: str, files: str) -> Listing:
    with _explained(where), _damage_counted(where, source.max_damaged) as damaged:
        reader = _NamedWds(root=str(root), split=files, is_training=False, input_img_mode="")
        _alone(reader)
        title = f"{display_name('/'.join((*root.absolute().parts[-1:], files.partition('::')[0])))}"
        listing = spool(
            reader.samples(),
            _classes_beside(root),
            where=where if split == WHOLE else f"{where}, {split}",
            title=title,
            image_size=source.image_size,
            folder=source.spool,
        )
        if not len(listing):
            raise InputError(
                f"{where} holds no samples; valid: files KEY.jpg (or .png, .webp) and KEY.cls, an integer, for each"
                + "".join(f"; {reason}" for reason in damaged[:1])
            )
    return replace(listing, left_out=tuple(damaged))


def _classes_beside(root: Path) -> list[str] | None:
    """Names of the classes, one a line in label order, where the folder has a classes.txt."""
    file = root / "classes.txt"
    return file.read_text("utf-8").splitlines() if file.is_file() else None


@contextmanager
def _damage_counted(where: str, limit: int) -> Iterator[list[str]]:
    """What timm's reader logs and skips, as a list; an error where it is more than the limit."""
    skipped: list[str] = []

    @final
    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if message.startswith("Handling webdataset error"):
                skipped.append(message.partition("error ")[2])
                if any(kind in message for kind in _CUT):  # with one error, all samples after it are lost
                    raise InputError(f"{where} is cut or damaged: {skipped[-1]}; make or download it again")
                if len(skipped) > limit:
                    named = "; ".join(skipped[:5])
                    raise InputError(
                        f"over {limit} damaged samples in {where}, which is as many as are skipped: {named}. Repair "
                        "or remove them, or raise the limit (max_damaged)"
                    )

    logger, handler = logging.getLogger("timm.data.readers.reader_wds"), Counting()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield skipped
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
