"""A stream of images, read once, in its own order, into a file that goes when nobody needs it any more."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple, final

import numpy as np
from PIL import Image
from rich.markup import escape

from zoo.data.fingerprints import hash_buffer
from zoo.data.image_list import ImageStore, Listing
from zoo.data.images import display_name
from zoo.data.pixels import check_labels, list_pixels, number_names
from zoo.data.progress import progress_bar
from zoo.data.size import LARGEST, to_bytes
from zoo.errors import InputError


@final
class StreamedImage(NamedTuple):
    """An image as a stream gives it.

    Attributes:
        image: RGB, upright.
        label: its class.
        name: what it is called in the stream; empty where the stream does not tell.
    """

    image: Image.Image
    label: int
    name: str


@final
class SpoolStore(ImageStore):
    """RGB images of any sizes, one after another in a file without a name.

    Args:
        file: open for reading; the store keeps it open, and it is gone with the store.
        sizes: (n,) of (width, height).
        names: (n,).
    """

    in_memory = False

    def __init__(self, file: IO[bytes], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> None:
        lengths = [3 * width * height for width, height in sizes]
        self._file, self._sizes, self._names = file, sizes, names
        self._starts = np.cumsum([0, *lengths])
        self._bytes = np.memmap(file, np.uint8, "r") if lengths else np.empty(0, np.uint8)

    def name(self, key: int) -> str:
        return self._names[key]

    def image(self, key: int) -> Image.Image:
        return Image.frombytes("RGB", self._sizes[key], self._pixels(key))

    def upright_size(self, key: int) -> tuple[int, int]:
        return self._sizes[key]

    def stored_bytes(self, key: int) -> int:
        return int(self._starts[key + 1] - self._starts[key])

    def digest(self, key: int) -> bytes:
        return hash_buffer(self._pixels(key))

    def _pixels(self, key: int) -> bytes:
        return self._bytes[self._starts[key] : self._starts[key + 1]].tobytes()


def spool(
    images: Iterable[StreamedImage],
    classes: Sequence[str] | None,
    *,
    where: str,
    title: str,
    image_size: int | None,
    folder: Path | None,
) -> Listing:
    """Read a stream through.

    Images are kept as they are, up to 224 pixels a side; from the first larger one on, all are brought to 224, as they
    are for training. So the file is never larger than the pixels that a training needs.

    Args:
        images: the stream.
        classes: names in label order; None where labels are numbers alone.
        where: for messages.
        title: what a card may say of that.
        image_size: pixels a side that all images are brought to; None for the rule above.
        folder: where the file without a name takes its room; None for the system's temporary folder.

    Raises:
        InputError: what the stream raises, or there is no room.
    """
    sizes: list[tuple[int, int]] = []
    names: list[str] = []
    labels: list[int] = []
    side = image_size
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (the store keeps it)
        with progress_bar(None) as bar:
            task = bar.add_task(f"reading {escape(where)}", total=None)
            for image, label, name in images:
                if side is None and max(image.size) > LARGEST:
                    side = LARGEST
                if side is None:
                    size, pixels = image.size, image.tobytes()
                else:
                    size = (side, side)
                    pixels = to_bytes(image, size).permute(1, 2, 0).contiguous().numpy().tobytes()
                file.write(pixels)
                sizes.append(size)
                names.append(name)
                labels.append(label)
                bar.update(task, completed=len(labels))
        file.flush()
    except OSError as error:
        place = display_name(folder or tempfile.gettempdir())
        raise InputError(f"{where} cannot be read into {place}: {error.strerror or error}; make room there") from error
    numbers = np.array(labels, np.int64)
    check_labels(numbers, classes, where)
    numbered = number_names(numbers, classes)
    named = [
        numbered[row] if not name else name if "/" in name else f"{numbered[row].rpartition('/')[0]}/{name}"
        for row, name in enumerate(names)
    ]
    store = SpoolStore(file, sizes, named)
    return list_pixels(store, numbers, classes, where=where, title=title, side=side)
