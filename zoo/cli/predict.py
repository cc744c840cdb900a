"""`zoo predict`: what a model makes of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import zoo
from zoo.cli.options import CacheDir, Endpoint, Json, Model, leave_bombs_to_us, model_reference
from zoo.cli.output import print_answer, progress
from zoo.contracts.sizes import PREDICTED_AT_ONCE
from zoo.errors import InputError
from zoo.terminal import say

DEFAULT_MODEL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
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
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the network at once.")] = (
        PREDICTED_AT_ONCE
    ),
    device: Annotated[
        str, typer.Option(metavar="cpu|cuda|cuda:1|mps|auto", help="Where to compute; auto: a GPU where there is one.")
    ] = "cpu",
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
    has8_resnet_b8_m2_d4_ste_bpd.cifar10
    """
    from zoo.data.images import find_images, sample_photographs

    leave_bombs_to_us()
    from zoo.factory import open_model

    reference = model_reference(model or default_model())
    opened = open_model(reference, required=True, endpoint=endpoint, cache_dir=cache_dir)
    weight = opened.weight
    assert weight is not None  # it was required
    from zoo.inference.device import usable_device
    from zoo.inference.predict import Failure, predict_files

    files: list[Path | Failure] = [] if images else [*sample_photographs()]
    for path in images or []:
        try:
            files += find_images([path])
        except InputError as error:  # an empty folder is reported, the rest still classified
            files.append(Failure(path, str(error)))

    network = opened.build(pretrained=True, device=usable_device(device))
    if fuse:
        network.eval().fuse()
    count = min(DEFAULT_TOP, weight.num_classes) if top is None else top
    answers = predict_files(network, files, weight.preprocessing, weight.labels, count, batch_size)
    if not as_json:
        say(weight.name)
    failed = False
    with progress(len(files), visible=len(files) > batch_size) as advance:
        for answer in answers:
            failed |= not print_answer(answer, weight.name, as_json)
            advance(1)
    if failed:
        raise typer.Exit(1)


def default_model() -> str:
    names = zoo.list_models(pretrained=True)
    if not names:
        raise InputError("the catalog lists no trained weights; reinstall has8-zoo, or name a model with --model")
    return DEFAULT_MODEL if DEFAULT_MODEL in names else names[0]
