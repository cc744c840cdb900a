"""`zoo profile`: what a model costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import CacheDir, Endpoint, Json, leave_bombs_to_us, model_reference
from zoo.cli.output import progress
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE, MAX_PROFILED_SIZE
from zoo.terminal import Progress

DEFAULT_LIMIT = 32


def profile_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="Any valid model name, listed or not; a folder of zoo train; or hf-hub:ORG/NAME@COMMIT.",
        ),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_PROFILED_SIZE,
            help=f"Pixels a side; unless given {DEFAULT_IMAGE_SIZE}, with --data the weight's own.",
        ),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=0, help="Classes; unless given the weight's own, or 1000 without weights.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="IMAGE|FOLDER", help="Images to count spikes, operations and energy with.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"The first N images of --data.  (default: {DEFAULT_LIMIT})"),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Layer by layer too.")] = False,
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Count what a model costs, beside the same network without spikes.

    Parameters and multiply-accumulates (MACs) of one image, as fvcore counts
    them: "all timesteps" is what is really computed; "per timestep" is the
    paper's convention, analog + spiking / T. With --data also spikes,
    synaptic operations and energy. What could not be counted is listed.
    """
    from zoo.cli.cost_table import print_profile
    from zoo.factory import open_model
    from zoo.profiling import preprocessing_of, profile

    if data is None and limit is not None:
        raise typer.BadParameter("--limit goes with --data")
    opened = open_model(model_reference(name), listed=True, endpoint=endpoint, cache_dir=cache_dir)
    if data is None:
        counted = profile(opened, image_size, num_classes=num_classes)
    else:
        from zoo.data.images import find_images, prepare, read_image

        leave_bombs_to_us()
        preprocessing, files = preprocessing_of(opened, image_size), find_images([data])[: limit or DEFAULT_LIMIT]
        with progress(len(files), visible=True, doing="counting") as advance:
            images = (prepare(read_image(file), preprocessing) for file in _counted(files, advance))
            counted = profile(opened, num_classes=num_classes, images=images)
    if as_json:
        print(json.dumps(counted.to_json()))
    else:
        print_profile(counted, layers)


def _counted(files: Iterable[Path], advance: Progress) -> Iterator[Path]:
    for file in files:
        advance(1)
        yield file
