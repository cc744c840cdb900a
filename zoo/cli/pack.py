"""`zoo pack`: any data as one file of pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import DATA_HELP, Json
from zoo.cli.output import counted, say


def pack_command(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .npz to write.")],
    image_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            max=16384,
            help="Pixels a side of all images.  (default: 224 where one is larger, else the smallest shorter side)",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the data sets named above; missing ones are downloaded to it."),
    ] = None,
    no_download: Annotated[bool, typer.Option("--no-download", help="Never download a data set.")] = False,
    max_damaged: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Damaged images that may be left out of a split; one more is an error."),
    ] = 100,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write all images of some data into one .npz, decoded, upright, RGB, all of one size.

    It holds the arrays images (N, H, W, 3) of bytes, labels, classes and names,
    and split where the data have a training and a validation split. Whatever
    takes DATA takes the file, and a training on it has the very losses of one
    on the data themselves, asked for the same image size.
    """
    from zoo.data import DataOptions, pack

    made = pack(data, out, DataOptions(image_size, data_root, not no_download, max_damaged), replace_file=force)
    if as_json:
        print(json.dumps(made.to_json()))
        return
    images = " and ".join(
        f"{count:,}" if split == "all" else f"{count:,} ({split})" for split, count in made.images.items()
    )
    side = made.image_size
    classes = counted(len(made.classes), "class", "classes")
    say(f"{out}: {images} images of {classes}, {side}×{side} pixels, {made.bytes / 2**20:,.1f} MiB")
    if made.damaged:
        left_out = f"{counted(made.damaged, 'damaged image')} {'is' if made.damaged == 1 else 'are'} left out"
        say(f"note: {left_out}: {'; '.join(made.notes)}")
