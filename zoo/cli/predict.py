"""`zoo predict`: what a model makes of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.cli.options import CacheDir, Device, Endpoint, Json, Model, leave_bombs_to_us, model_reference
from zoo.cli.output import print_answer, progress_to_come
from zoo.cli.shared import sharing
from zoo.contracts.sizes import PREDICTED_AT_ONCE
from zoo.errors import InputError
from zoo.terminal import Progress, say

if TYPE_CHECKING:
    from zoo.factory import Places
    from zoo.inference.predict import Failure
    from zoo.inference.processes import Processes

DEFAULT_MODEL = "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10"
"""What predicts and shows unless --model says otherwise; where it is not listed, the first weight that is."""

DEFAULT_TOP = 3


def predict_command(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE|FOLDER", help="Image files, and folders with images at any depth."),
    ] = None,
    model: Model = None,
    top: Annotated[
        int | None,
        typer.Option(metavar="K", help=f"How many classes to name for each image.  (default: {DEFAULT_TOP})"),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images that go through the network at once.")] = (
        PREDICTED_AT_ONCE
    ),
    device: Device = "cpu",
    fuse: Annotated[
        bool,
        typer.Option("--fuse", help="Fold batch norms into convolutions: faster; probabilities differ by rounding."),
    ] = False,
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Classify images; without any, the photographs that come with the package.

    A file that cannot be read is reported by its name, the others are still
    classified, and the exit status is 1. The model, unless --model names one:
    has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10
    torchrun --nproc-per-node N -m zoo predict … shares the images among N
    processes; one of them prints.
    """
    leave_bombs_to_us()
    with sharing(device) as processes, progress_to_come(processes.is_first) as bar:
        hub: Places = {"endpoint": endpoint, "cache_dir": cache_dir}
        failed = _predict(images, model, top, batch_size, device, fuse, hub, as_json, processes, bar)
    if failed:
        raise typer.Exit(1)


def _predict(
    images: list[Path] | None,
    model: str | None,
    top: int | None,
    batch_size: int,
    device: str,
    fuse: bool,
    hub: Places,
    as_json: bool,
    processes: Processes,
    bar: tuple[Progress, Progress],
) -> bool:
    """Print an answer for each image, in the first process; whether one of them could not be classified."""
    from zoo.factory import open_model

    with processes.first_ahead():
        opened = open_model(model_reference(model or default_model()), required=True, publishers=True, **hub)
        from zoo.contracts.device import usable_device
        from zoo.inference.predict import predict_files

        network = opened.build(pretrained=True, device=usable_device(processes.device(device)))
    if fuse:
        network.eval().fuse()
    files = processes.of_first(_listed(images) if processes.is_first else [])
    count = min(DEFAULT_TOP, len(opened.labels)) if top is None else top
    answers = predict_files(network, files, opened.preprocessing(), opened.labels, count, batch_size, processes)
    if not as_json and processes.is_first:
        say(opened.weight_name)
    failed = False
    begin, advance = bar
    if len(files) > batch_size:
        begin(len(files))
    for answer in answers:
        failed |= not print_answer(answer, opened.weight_name, as_json)
        advance(1)
    return failed


def _listed(images: list[Path] | None) -> list[Path | Failure]:
    """Every image file that was named or lies in a folder that was named; an empty folder is a failure of its own."""
    from zoo.data.images import find_images, sample_photographs
    from zoo.inference.predict import Failure

    if not images:
        return [*sample_photographs()]
    files: list[Path | Failure] = []
    for path in images:
        try:
            files += find_images([path])
        except InputError as error:  # the rest is still classified
            files.append(Failure(path, str(error)))
    return files


def default_model() -> str:
    names = zoo.list_models(pretrained=True)
    if not names:
        raise InputError("the catalog lists no trained weights; reinstall has8-zoo, or name a model with --model")
    return DEFAULT_MODEL if DEFAULT_MODEL in names else names[0]
