"""`zoo predict`: classify images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Device, Json, Model, model_reference
from zoo.cli.output import print_answer, say
from zoo.contracts.sizes import PREDICTED_AT_ONCE
from zoo.errors import InputError, ModelNameError, printable
from zoo.names import parse_reference
from zoo.progress import progress
from zoo.registry import parse_name

DEFAULT_MODEL = "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10"
"""The model of predict and show unless one is named."""


def predict_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] IMAGE|FOLDER...",
            help="A model, as `zoo list` names it, a folder of `zoo train`, or hf-hub:ORG/NAME@COMMIT; then images, "
            "or folders with images at any depth.",
        ),
    ] = None,
    model: Model = None,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="How many classes to name for each image.")] = 3,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Images at once. Another number rounds differently, which flips bit planes: up to 0.2 of a hybrid's "
            "logit.",
        ),
    ] = PREDICTED_AT_ONCE,
    device: Device = "cpu",
    fuse: Annotated[
        bool,
        typer.Option(
            "--fuse",
            help="Fold batch norms into convolutions: faster, but flipped bit planes move a hybrid's logits by up to "
            "0.9 and change one answer of 64.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify images; without any, the photographs that come with the package.

    A file that cannot be read is reported by its name, the others are still
    classified, and the exit status is 1. The model, unless one is named:
    has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10
    """
    from zoo.contracts.device import usable_device
    from zoo.data.images import find_images, sample_photographs
    from zoo.factory import open_model
    from zoo.inference.predict import iterate_answers

    name, images = split_arguments(arguments or [], model)
    reference = model_reference(name or DEFAULT_MODEL)
    opened = open_model(reference, required=True)
    files = find_images(images) if images else sample_photographs()
    network = opened.build(pretrained=True, device=usable_device(device))
    if fuse:
        network.eval().fuse()
    answers = iterate_answers(network, files, top, batch_size)
    if not as_json:
        say(opened.weight_name)
    failed = False
    with progress("classifying", len(files), visible=len(files) > batch_size) as advance:
        for answer in answers:
            failed |= not print_answer(answer, opened.weight_name, as_json)
            advance(1)
    if failed:
        raise typer.Exit(1)


def split_arguments(arguments: Sequence[str], model: str | None) -> tuple[str | None, list[Path]]:
    """Split the model, which comes first if `--model` does not name it, from the images.

    Raises:
        InputError: a model stands among the images, or the first argument is neither a model nor an image.
    """
    images = list(arguments)
    if model is None and images and _is_model(images[0], must=True):
        model = images.pop(0)
    for text in filter(_is_model, images):
        raise InputError(
            f"{printable(text)} is a model, but stands among the images; name one model: "
            f"zoo predict {printable(text)} IMAGE…"
        )
    return model, [Path(text) for text in images]


def _is_model(text: str, must: bool = False) -> bool:
    """Return whether that names a model; `must` raises `InputError` for a wrong name that cannot be an image."""
    from zoo.weights import MODEL, RUN

    if parse_reference(text) is not None:
        return True
    if os.path.exists(text):
        return any((Path(text) / name).is_file() for name in (MODEL, RUN))
    try:
        parse_name(text)
    except ModelNameError as error:
        if must and os.sep not in text and len(Path(text).suffix) not in (4, 5):  # of an image that is missing
            raise InputError(f"{printable(text)} is neither an image, a folder, nor a model: {error}") from error
        return False
    return True
