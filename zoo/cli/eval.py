"""`zoo eval`: how well a weight classifies images that it has not seen."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import DATA_HELP, CacheDir, Device, Endpoint, Json, model_reference
from zoo.cli.output import say
from zoo.contracts.sizes import MAX_IMAGE_SIZE
from zoo.errors import printable
from zoo.kernels.memory import keep_freed_memory

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.inference.evaluate import Evaluation, Measurement

_MATRIX = 20
"""Classes up to which the whole confusion matrix is printed; above, the most frequent mistakes."""

_TABLE = 50
"""Classes up to which all are listed; above, those with the lowest recall."""


class _Split(StrEnum):
    TRAIN = "train"
    VAL = "val"


class _Precision(StrEnum):
    NO = "no"
    BF16 = "bf16"
    FP16 = "fp16"


def eval_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="A weight as `zoo list --pretrained` names it, a folder of `zoo train`, or hf-hub:ORG/NAME@COMMIT.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(metavar="DATA", help=DATA_HELP),
    ],
    split: Annotated[_Split, typer.Option(help="The split to measure, where the data have both.")] = _Split.VAL,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--eval-batch-size",
            min=1,
            metavar="N",
            help="Images at once; another number rounds differently in the last bits.  (default: 250; of large images "
            "as many as take 1 GiB)",
        ),
    ] = None,
    precision: Annotated[
        _Precision,
        typer.Option(
            help="The type of numbers to compute in; no means float32, in which the recorded figures are measured."
        ),
    ] = _Precision.NO,
    device: Device = "cpu",
    threads: Annotated[int, typer.Option(metavar="N", min=0, help="CPU threads of torch; 0 leaves its choice.")] = 0,
    image_size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=1, max=MAX_IMAGE_SIZE, help="Pixels a side.  (default: the weight's own)"),
    ] = None,
    limit_images: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Measure N images only, as many of every class.")
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the data sets named above; missing ones are downloaded to it."),
    ] = None,
    no_download: Annotated[bool, typer.Option("--no-download", help="Never download a data set.")] = False,
    max_damaged: Annotated[
        int, typer.Option(metavar="N", min=0, help="Damaged images that may be left out; one more is an error.")
    ] = 100,
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Measure a weight on labelled images: top-1, top-5, loss, precision and recall, confusion.

    The images' classes are matched to the weight's labels by name; one that the
    weight does not know is an error. Figures are percent; "recorded" is what
    the weight's own record says. --json prints one object with the whole
    confusion matrix. Its rows are the true classes, its columns the
    predicted ones. Recall is the percentage of a class's images that are
    predicted as it, precision the percentage of the images predicted as it
    that are of it.

    A folder that `zoo train` divided itself is divided again: what the weight
    was trained on is left out. torchrun --nproc-per-node N -m zoo eval … shares
    the images among N processes.
    """
    if threads:
        import torch

        torch.set_num_threads(threads)
    keep_freed_memory()
    from zoo.data import DataOptions
    from zoo.inference.evaluate import measure_weight
    from zoo.inference.processes import joined

    options = DataOptions(image_size, data_root, not no_download, max_damaged, limit_images)
    with joined(device) as processes:
        measured = measure_weight(
            model_reference(name),
            data,
            split=split.value,
            options=options,
            batch_size=batch_size,
            precision=precision.value,
            device=processes.device(device),
            processes=processes,
            endpoint=endpoint,
            cache_dir=cache_dir,
            show_progress=True,
        )
    if processes.index:
        return
    if as_json:
        print(json.dumps(measured.to_json()))
    else:
        _print(measured)


def _print(measured: Measurement) -> None:
    from rich.console import Console
    from rich.text import Text

    console, evaluation, recorded = Console(highlight=False), measured.evaluation, measured.recorded
    name, data = printable(measured.name), printable(measured.data)
    console.print(Text.assemble((name, "bold"), f" on {data}"), soft_wrap=True)
    for note in measured.notes:
        say(f"note: {note}")
    console.print()
    for name, value in evaluation.top.items():
        known = f"   recorded {recorded[name]:.4f}" if name in recorded else ""
        say(f"{name:<6} {value:9.4f} %{known}")
    say(f"loss   {evaluation.loss:9.4f}")
    _print_classes(evaluation, console)
    _print_confusion(evaluation, console)


def _print_classes(evaluation: Evaluation, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    scores, title = evaluation.scores(), "classes"
    if len(scores) > _TABLE:
        measured = [score for score in scores if score.recall is not None]
        scores = sorted(measured, key=lambda score: score.recall or 0.0)[:_TABLE]
        title = f"the {_TABLE} classes with the lowest recall, of {len(evaluation.classes):,}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("class", overflow="fold")
    for column in ("images", "precision, %", "recall, %"):
        table.add_column(column, justify="right")
    for score in scores:
        figures = ("–" if percent is None else f"{percent:.2f}" for percent in (score.precision, score.recall))
        table.add_row(Text(printable(score.name)), f"{score.images:,}", *figures)
    say("", title, sep="\n")
    console.print(table)


def _print_confusion(evaluation: Evaluation, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    classes = evaluation.classes
    if len(classes) > _MATRIX:
        title = "confusion: the most frequent mistakes"
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in ("true", "predicted"):
            table.add_column(column, overflow="fold")
        table.add_column("images", justify="right")
        for true, predicted, count in evaluation.mistakes():
            table.add_row(Text(printable(true)), Text(printable(predicted)), f"{count:,}")
    else:
        title = "confusion: rows: true, columns: predicted"
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        for number in range(len(classes)):
            table.add_column(str(number), justify="right")
        for number, (name, row) in enumerate(zip(classes, evaluation.confusion.tolist(), strict=True)):
            cells = (Text(str(count), "bold" if place == number else "") for place, count in enumerate(row))
            table.add_row(Text(printable(f"{number} {name}")), *cells)
    say(title)
    console.print(table)
