"""`zoo profile`: what a model costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import DATA_HELP, CacheDir, Device, Endpoint, Json, leave_bombs_to_us, model_reference
from zoo.cli.output import progress
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE, MAX_PROFILED_SIZE
from zoo.terminal import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

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
            metavar="PIXELS",
            min=1,
            max=MAX_PROFILED_SIZE,
            help=f"Pixels a side.  (default: {DEFAULT_IMAGE_SIZE}; with --data the weight's own)",
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Number of classes.  (default: the weight's own, or 1000 without one)"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE|DATA",
            help=f"Images to count spikes, operations and energy with: an image file, or data. {DATA_HELP}",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help=f"Count on N images of --data, spread over the classes.  (default: {DEFAULT_LIMIT})",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the data sets named above; missing ones are downloaded to it."),
    ] = None,
    no_download: Annotated[bool, typer.Option("--no-download", help="Never download a data set.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Show the figures of every layer too.")] = False,
    device: Device = "cpu",
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Count what a model costs, beside the same network without spikes.

    Parameters and multiply-accumulates (MACs) of one image, as fvcore counts
    them: "all timesteps" is what is really computed; "per timestep" is the
    paper's convention, analog + spiking / T. With --data also spikes,
    synaptic operations and energy; of data with a validation split, its images
    are taken. What could not be counted is listed.
    """
    from zoo.cli.cost_table import print_profile
    from zoo.factory import open_model
    from zoo.profiling import preprocessing_of, profile

    if data is None and limit is not None:
        raise typer.BadParameter("--limit goes with --data")
    opened = open_model(model_reference(name), listed=True, endpoint=endpoint, cache_dir=cache_dir)
    if data is None:
        counted = profile(opened, image_size, num_classes=num_classes, device=device)
    else:
        from zoo.data.images import prepare
        from zoo.data.sample import sample_images
        from zoo.data.source import Source

        leave_bombs_to_us()
        preprocessing = preprocessing_of(opened, image_size)
        sample = sample_images(Source(data, data_root, download=not no_download), limit or DEFAULT_LIMIT)
        with progress(len(sample), visible=True, doing="counting") as advance:
            images = (prepare(image, preprocessing) for image in _counted(sample, advance))
            counted = profile(opened, num_classes=num_classes, images=images, device=device)
    if as_json:
        print(json.dumps(counted.to_json()))
    else:
        print_profile(counted, layers)


def _counted(items: Iterable[Image], advance: Progress) -> Iterator[Image]:
    for item in items:
        advance(1)
        yield item
