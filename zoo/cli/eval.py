"""`zoo eval`: how well a weight classifies images that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import DATA_HELP, CacheDir, Endpoint, Json, leave_bombs_to_us, model_reference
from zoo.cli.output import progress
from zoo.cpu.allocator import keep_freed_memory
from zoo.terminal import printable, say

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.inference.eval_weight import Measurement
    from zoo.inference.evaluate import Evaluation

_MATRIX = 20
"""Classes up to which the whole confusion matrix is printed; above, the most frequent mistakes."""

_TABLE = 50
"""Classes up to which all are listed; above, those that are recognised worst."""


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
    split: Annotated[_Split, typer.Option(help="Which one, where the data have both.")] = _Split.VAL,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--eval-batch-size",
            "--batch-size",
            min=1,
            metavar="N",
            help="Images at once; another number rounds differently in the last bits.  (default: 250; of large images "
            "as many as take 1 GiB)",
        ),
    ] = None,
    precision: Annotated[
        _Precision, typer.Option(help="no is float32, in which the recorded figures are measured.")
    ] = _Precision.NO,
    device: Annotated[str, typer.Option(help="Where to compute, such as cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of torch; 0 leaves its choice.")] = 0,
    image_size: Annotated[
        int | None, typer.Option(min=1, max=16384, help="Another number of pixels a side than the weight's own.")
    ] = None,
    limit_images: Annotated[int | None, typer.Option(min=1, metavar="N", help="N images, all classes alike.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where data sets named above lie, or go.")
    ] = None,
    no_download: Annotated[bool, typer.Option("--no-download", help="Never download them.")] = False,
    max_damaged: Annotated[
        int, typer.Option(min=0, help="Damaged images that are left out before it is an error.")
    ] = 100,
    endpoint: Endpoint = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Measure a weight on labelled images: top-1, top-5, loss, every class, and what is taken for what.

    The images' classes are matched to the weight's labels by name; one that the
    weight does not know is an error. Figures are percent; "recorded" is what
    the weight's own record says. --json prints one object with the whole
    confusion matrix, row the true class, column the predicted one.

    A folder that `zoo train` divided itself is divided again: what the weight
    was trained on is left out.
    """
    if threads:
        import torch

        torch.set_num_threads(threads)
    keep_freed_memory()
    leave_bombs_to_us()
    from zoo.training import DataOptions, measure_weight

    with ExitStack() as stack:
        advance: Callable[[], None] = lambda: None  # noqa: E731

        def begin(images: int) -> None:
            nonlocal advance
            advance = stack.enter_context(progress(images, visible=True))

        def after_batch(images: int) -> None:
            for _ in range(images):
                advance()

        options = DataOptions(image_size, data_root, not no_download, max_damaged, limit_images)
        measured = measure_weight(
            model_reference(name),
            data,
            split=split.value,
            options=options,
            batch_size=batch_size,
            precision=precision.value,
            device=device,
            endpoint=endpoint,
            cache_dir=cache_dir,
            begin=begin,
            after_batch=after_batch,
        )
    if as_json:
        print(json.dumps(measured.to_json()))
    else:
        _print(measured)


def _print(measured: Measurement) -> None:
    from rich.console import Console
    from rich.text import Text

    console, evaluation, recorded = Console(highlight=False), measured.evaluation, measured.weight.metrics
    name, data = printable(measured.weight.name), printable(measured.data)
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
        title = f"the {_TABLE} classes that are recognised worst, of {len(evaluation.classes):,}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("class", overflow="fold")
    for column in ("images", "recognised, %", "right when said, %"):
        table.add_column(column, justify="right")
    for score in scores:
        shares = ("–" if share is None else f"{share:.2f}" for share in (score.recall, score.precision))
        table.add_row(Text(printable(score.name)), f"{score.images:,}", *shares)
    console.print()
    console.print(table)


def _print_confusion(evaluation: Evaluation, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    classes = evaluation.classes
    if len(classes) > _MATRIX:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title="most frequent mistakes", title_justify="left")
        for column in ("is", "was taken for"):
            table.add_column(column, overflow="fold")
        table.add_column("images", justify="right")
        for true, predicted, count in evaluation.mistakes():
            table.add_row(Text(printable(true)), Text(printable(predicted)), f"{count:,}")
    else:
        title = "confusion: row is, column was said"
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        table.add_column("")
        for number in range(len(classes)):
            table.add_column(str(number), justify="right")
        for number, (name, row) in enumerate(zip(classes, evaluation.confusion.tolist(), strict=True)):
            cells = (Text(str(count), "bold" if place == number else "") for place, count in enumerate(row))
            table.add_row(Text(printable(f"{number} {name}")), *cells)
    console.print(table)
