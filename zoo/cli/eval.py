"""`zoo eval`: figures of a checkpoint on labelled images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.cli.options import DATA_HELP, DataRoot, Device, ImageSize, Json, model_reference
from zoo.cli.output import print_rows, say
from zoo.cpu.memory import keep_freed_memory

if TYPE_CHECKING:
    from zoo.inference.evaluate import Measurement


def eval_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="Pretrained model, as `zoo list --pretrained` names it; folder of zoo train; hf-hub:ORG/NAME@COMMIT.",
        ),
    ],
    data: Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP)],
    split: Annotated[Literal["train", "val"], typer.Option(help="Split to measure, if the data have two.")] = "val",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Images that go through the network at once. Another number moves a hybrid's logits by up to 0.65.  "
            "(default: 250, or fewer if they are larger than 64×64 pixels)",
        ),
    ] = None,
    device: Device = "cpu",
    image_size: ImageSize = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Measure only N images, the same number of every class.")
    ] = None,
    data_root: DataRoot = None,
    early_exit: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Stop the timesteps of an image at this probability of a class; for spikes that stream."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a pretrained model on labelled images: top-1, top-5, loss, precision and recall, confusion.

    The images' classes are matched to the checkpoint's labels by name; one that
    it lacks is an error. Figures are percent; "recorded" is what the
    checkpoint's own record says. --json prints one object with the whole
    confusion matrix: true classes in rows, predicted ones in columns. A folder
    that `zoo train` divided itself is divided again: the training images of the
    checkpoint are left out.
    """
    keep_freed_memory()
    from zoo.data import DataOptions
    from zoo.inference.evaluate import measure_weight
    from zoo.processes import connect, own_device

    share = connect()
    measured = measure_weight(
        model_reference(name),
        data,
        split=split,
        options=DataOptions(image_size, data_root, limit),
        batch_size=batch_size,
        device=own_device(device),
        early_exit=early_exit,
        share=share,
    )
    if share[0] > 0:
        return  # the first process prints
    if as_json:
        print(json.dumps(measured.to_json()))
    else:
        _print(measured)


def _print(measured: Measurement) -> None:
    from zoo.catalog.figures import in_units

    evaluation, recorded = measured.evaluation, measured.recorded
    say(f"{measured.name} on {measured.data}", *(f"note: {note}" for note in measured.notes), "", sep="\n")
    for name, value in evaluation.top.items():
        known = f"   recorded {recorded[name]:.4f}" if name in recorded else ""
        say(f"{name:<6} {value:9.4f} %{known}")
    measurable = [score for score in evaluation.scores() if score["images"]]
    worst = sorted(measurable, key=lambda score: score["recall"])[:50]
    title = f"the {len(worst)} classes with the lowest recall, of {len(evaluation.classes):,}"
    if evaluation.timesteps is not None:
        say(f"steps  {evaluation.timesteps:9.4f}   timesteps an image, in the mean")
        for machine, (additions, steps) in evaluation.exits.items():
            say(f"       {in_units(round(additions))} additions and {steps:.1f} sequential steps an image, {machine}")
    say(f"loss   {evaluation.loss:9.4f}", "", title, sep="\n")
    figures = [
        {
            "class": score["name"],
            "images": f"{score['images']:,}",
            "precision, %": "" if score["precision"] is None else f"{score['precision']:.2f}",
            "recall, %": f"{score['recall']:.2f}",
        }
        for score in worst
    ]
    print_rows(figures, as_json=False)
    say("", "the most frequent mistakes", sep="\n")
    mistakes = evaluation.mistakes()
    print_rows([{"true": true, "predicted": wrong, "images": str(count)} for true, wrong, count in mistakes], False)
