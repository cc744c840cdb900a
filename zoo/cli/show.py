"""`zoo show`: a picture of the bit planes and of the spike rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import MODEL_HELP, Device, Model, model_reference
from zoo.cli.output import say
from zoo.cli.predict import DEFAULT_MODEL, model_and_images


def show_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] [IMAGE]", help=f"{MODEL_HELP} Then an image file; without one, the package's photograph."
        ),
    ] = None,
    model: Model = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="PNG file to write.")] = Path("show.png"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    device: Device = "cpu",
) -> None:
    """Draw an image in a network: its spikes (bit planes), the answer, and the spike rate of every layer.

    A model without a checkpoint is shown as it is initialised, and the
    picture says so. The model, unless one is named:
    has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10
    """
    from zoo.data.images import Transform, display_name, read_image, sample_photographs

    model, images = model_and_images(arguments, model)
    if len(images) > 1:
        raise typer.BadParameter(f"a picture is drawn of one image, not of {len(images)}")
    file = Path(images[0]) if images else sample_photographs()[0]
    pixels = read_image(file)
    from zoo.inference.predict import Prediction, predict
    from zoo.inference.show import draw, network_to_show, record, save_picture

    reference = model_reference(model or DEFAULT_MODEL)
    network, preprocessing, weights = network_to_show(reference, device)
    activity = record(network, Transform(preprocessing)(pixels))
    answers = predict(network, pixels) if network.pretrained_cfg.get("label_names") else []
    answer = [pair for found in answers if isinstance(found, Prediction) for pair in found.ranked]
    save_picture(draw(activity, str(network.spec), f"{display_name(file.name)}, {weights}", answer), out, force)
    say(f"{out}: {network.spec}, {weights}")
