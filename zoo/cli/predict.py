"""`zoo predict`: classify images."""

from __future__ import annotations

import json
import mimetypes
import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import MODEL_HELP, Device, Json, Model, model_reference
from zoo.cli.output import complain, counted, first_of, say
from zoo.errors import InputError, printable
from zoo.inference import PREDICTED_AT_ONCE
from zoo.names import parse_reference
from zoo.progress import progress

if TYPE_CHECKING:
    from zoo.inference.predict import Failure, Prediction
    from zoo.models.factory import OpenedModel

DEFAULT_MODEL = "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10"
"""The model of predict and show unless one is named."""


def predict_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] IMAGE|FOLDER...",
            help=f"{MODEL_HELP} Then images, or folders with images at any depth.",
        ),
    ] = None,
    model: Model = None,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="Number of classes to name for each image.")] = 3,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Images that go through the network at once. Another number moves a hybrid's logits by up to 0.65.",
        ),
    ] = PREDICTED_AT_ONCE,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Classify images; without any, the photographs that come with the package.

    A file that cannot be read is reported by its name, the others are still
    classified, and the exit status is 1. The model, unless one is named:
    has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10
    """
    from zoo.data.images import find_images, sample_photographs
    from zoo.device import usable_device
    from zoo.inference.predict import Failure, iterate_answers
    from zoo.models.factory import open_model
    from zoo.processes import connect, own_device, share_lists

    number, processes = connect()
    model, images = model_and_images(arguments, model)
    opened = open_model(model_reference(model or DEFAULT_MODEL), required=True)
    files = find_images(images) if images else sample_photographs()
    network = opened.build(pretrained=True, device=usable_device(own_device(device))).drop_timesteps()
    if not as_json and number == 0:
        say(opened.weight_name, _classes(opened), sep="\n")
    failed = False
    with progress("classifying", len(files), visible=len(files) > batch_size) as advance:
        answers = iterate_answers(network, files, top, batch_size)
        if processes > 1:  # each takes its part of the batches, and the first one prints
            batches = [files[row : row + batch_size] for row in range(0, len(files), batch_size)][number::processes]
            answered = share_lists([list(iterate_answers(network, batch, top, batch_size)) for batch in batches])
            answers = chain.from_iterable(answered if number == 0 else ())
        for answer in answers:
            if isinstance(answer, Failure):
                failed = True
                _print_failure(answer, as_json)
            else:
                _print_prediction(answer, opened.weight_name, as_json)
            advance(1)
    if failed:
        raise typer.Exit(1)


def _classes(opened: OpenedModel) -> str:
    """Say what the network tells apart; whatever else it is shown, it calls one of these."""
    labels, data = opened.labels, f" of {opened.weight.dataset}" if opened.weight else ""
    return f"Every image is called one of {counted(len(labels), 'class', 'classes')}{data}: {first_of(labels)}"


def _print_failure(failure: Failure, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"file": str(failure.file), "error": failure.error}), flush=True)
    else:
        complain(failure.error)


def _print_prediction(prediction: Prediction, model: str, as_json: bool) -> None:
    file = str(prediction.file)
    if as_json:
        ranked = [{"label": label, "probability": probability} for label, probability in prediction.ranked]
        print(json.dumps({"file": file, "model": model, "predictions": ranked}), flush=True)
    else:
        lines = (f"{100 * probability:7.1f} %  {label}" for label, probability in prediction.ranked)
        say("", file, *lines, sep="\n", flush=True)


def model_and_images(arguments: list[str] | None, model: str | None) -> tuple[str | None, list[str]]:
    """Split arguments into a model, unless an option names it, and images."""
    images = list(arguments or [])
    if model is None and images and _is_model(images[0]):
        model = images.pop(0)
    return model, images


def _is_model(text: str) -> bool:
    """Return whether the first argument is a model; raises `InputError` for a folder that is not there."""
    from zoo.data.images import SUFFIXES
    from zoo.weights.load import MODEL, RUN

    if os.path.exists(text):
        return any((Path(text) / name).is_file() for name in (MODEL, RUN))
    if parse_reference(text) is not None:
        return True
    if text.lower().endswith(SUFFIXES) or str(mimetypes.guess_type(text)[0]).startswith("image/"):  # as .heic
        return False
    if os.sep in text:
        raise InputError(f"{printable(text)} does not exist; name a model or its folder, then images or their folders")
    return True
