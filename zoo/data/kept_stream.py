"""A stream's images as a pack beside the run, so that a run that goes on sees the very same ones."""

from __future__ import annotations

import warnings
from pathlib import Path

from zoo.data.images import display_name
from zoo.data.pack import pack, packed_from
from zoo.data.prepare import DataOptions
from zoo.errors import DamagedImagesWarning, InputError

DATA = "data.npz"
"""The pack in the folder of the run."""


def keep_stream(reference: str, folder: Path, options: DataOptions, image_size: int | None, again: bool) -> Path:
    """The pack of a stream in `folder`, which is made.

    Args:
        reference: `hfids/…` or `wds/…`.
        folder: of the run.
        options: how the data are read.
        image_size: pixels a side; None for what `load_data` chooses.
        again: whether a pack that is there is used; without it, the stream is read anew.

    Raises:
        InputError: the stream cannot be read, or the pack is of another one.
    """
    file = folder / DATA
    key = f"{reference} at {image_size or 'its own'} pixels"
    if again and file.is_file():
        before = packed_from(file)
        if before != key:
            raise InputError(
                f"{display_name(file)} was made of {display_name(before) or 'something else'}, not of "
                f"{display_name(key)}; go on with what it was made of, or choose another folder (--out)"
            )
        return file
    made = _make(folder)
    try:
        written = pack(
            reference,
            file,
            image_size=image_size,
            root=options.root,
            download=options.download,
            max_damaged=options.max_damaged,
            replace=True,
            source_key=key,
        )
    except InputError:
        if made:
            folder.rmdir()
        raise
    if written.damaged:
        warnings.warn(
            f"{written.damaged} damaged images of {reference} are left out: {'; '.join(written.notes)}",
            DamagedImagesWarning,
            stacklevel=2,
        )
    return file


def _make(folder: Path) -> bool:
    """Whether the folder was not there."""
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{display_name(folder)} cannot be made: {error.strerror}; choose another (--out)") from error
    return new
