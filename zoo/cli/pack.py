"""`zoo pack`: any data as one file of pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import DATA_HELP, DataRoot, Json
from zoo.cli.output import say


def pack_command(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .npz to write.")],
    image_size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Pixels a side.  (default: 224 if one is larger, else the smallest side)"),
    ] = None,
    data_root: DataRoot = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write all images of some data into one .npz, decoded, upright, RGB, all of one size.

    It holds the arrays images (N, H, W, 3) of bytes, labels, classes and names,
    and split if the data have a training and a validation split. The file may
    stand for DATA everywhere; a training on it has the losses of one on the data
    themselves at the same image size, if all images are sound.
    """
    from zoo.data import DataOptions, pack

    packed = pack(data, out, DataOptions(image_size, data_root), force=force)
    if as_json:
        print(json.dumps(packed))
        return
    images = " and ".join(f"{count:,} ({split})" for split, count in packed["images"].items())
    size, side = f"{packed['bytes'] / 2**20:,.1f} MiB", packed["image_size"]
    say(f"{out}: {images} images of {len(packed['classes'])} classes, {side}×{side} pixels, {size}")
    for note in packed["notes"]:
        say(f"note: {note}")
