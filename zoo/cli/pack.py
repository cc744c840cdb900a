"""`zoo pack`: any data as one file of pixels."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import DATA_HELP, DataRoot, Json, MaxDamaged, NoDownload
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
            help="Pixels a side of all images.  (default: 224 if one is larger, else the smallest shorter side)",
        ),
    ] = None,
    data_root: DataRoot = None,
    no_download: NoDownload = False,
    max_damaged: MaxDamaged = 100,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write all images of some data into one .npz, decoded, upright, RGB, all of one size.

    It holds the arrays images (N, H, W, 3) of bytes, labels, classes and names,
    and split if the data have a training and a validation split. The file may
    stand for DATA everywhere; a training on it has the losses of one on the data
    themselves at the same image size.
    """
    from zoo.data import DataOptions, pack

    made = pack(data, out, DataOptions(image_size, data_root, not no_download, max_damaged), replace_file=force)
    if as_json:
        print(json.dumps(asdict(made), default=str))
        return
    images = " and ".join(f"{count:,} ({split})" for split, count in made.images.items())
    side = made.image_size
    say(f"{out}: {images} images of {len(made.classes)} classes, {side}×{side} pixels, {made.bytes / 2**20:,.1f} MiB")
    if made.damaged:
        say(f"note: {counted(made.damaged, 'damaged image')} left out: {'; '.join(made.notes)}")
