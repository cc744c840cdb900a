"""`predict_files` on many JPEG files beside the network alone on the same images, prepared beforehand.

What is wanted: at most 1.15 times the network's own time, with the files decoded in threads while the network works.
The files are made here, of smooth random colours. Both are measured in turn, on the clock, so the machine must be
quiet.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.common.timing import interleave, spread, time_step
from zoo.cli.predict import DEFAULT_MODEL
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.sizes import PREDICTED_AT_ONCE
from zoo.inference.inputs import Transform, transform
from zoo.inference.predict import Prediction, predict_files
from zoo.weights.pretrained_cfg import labels_of

MODELS = (DEFAULT_MODEL, "has8_resnet_b8_m2_d4_ste_bpd.cifar10")

WANTED = 1.15
"""Of the network's own time."""

_COARSE = 8
"""Random colours a side, which are enlarged to an image."""

app = typer.Typer(add_completion=False)


def write_files(folder: Path, files: int, pixels: int) -> list[Path]:
    """JPEG files of so many pixels a side, of quality 75, the same at every call."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number:06}.jpg" for number in range(files)]
    for path in paths:
        colours = Image.fromarray(random.integers(0, 256, (_COARSE, _COARSE, 3), dtype=np.uint8))
        colours.resize((pixels, pixels), Image.Resampling.BICUBIC).save(path, quality=75)
    return paths


def prepared_batches(paths: list[Path], prepare: Transform) -> list[Tensor]:
    """(N, 3, H, W) of the files, as many at once as `zoo predict` takes."""
    parts = [paths[start : start + PREDICTED_AT_ONCE] for start in range(0, len(paths), PREDICTED_AT_ONCE)]
    return [torch.stack([prepare(path) for path in part]) for part in parts]


def measure(model: ImageClassifier, paths: list[Path], repeats: int) -> dict[str, Any]:
    """Seconds of the network alone and of `predict_files`, and their ratio."""
    prepare = transform(model)
    batches = prepared_batches(paths, prepare)

    def alone() -> None:
        with model.evaluating():
            for batch in batches:
                model(batch)

    def whole() -> None:
        answers = list(predict_files(model, paths, prepare.preprocessing, labels_of(model)))
        assert sum(isinstance(answer, Prediction) for answer in answers) == len(paths)

    taken = interleave({"network": alone, "predict": whole}, repeats, time_step)
    times = {name: spread(each) for name, each in taken.items()}
    return {**times, "ratio": times["predict"]["median_s"] / times["network"]["median_s"]}


@app.command()
def main(
    model: Annotated[list[str], typer.Option(default_factory=lambda: list(MODELS), metavar="NAME", help="Weights.")],
    pixels: Annotated[list[int], typer.Option(default_factory=lambda: [32], metavar="N", help="A side of the files.")],
    threads: Annotated[list[int], typer.Option(default_factory=lambda: [2], metavar="N", help="torch's threads.")],
    files: Annotated[int, typer.Option(min=1, metavar="N", help="JPEG files.")] = 8000,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Rounds that count; one more warms up.")] = 3,
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 where one takes more than 1.15 times the network's own time."""
    rows: list[dict[str, Any]] = []
    for name in model:
        network = zoo.create_model(name).eval()
        for side in pixels:
            with tempfile.TemporaryDirectory() as folder:
                paths = write_files(Path(folder), files, side)
                for count in threads:
                    torch.set_num_threads(count)
                    about = {"model": name, "files": files, "pixels": side, "threads": count}
                    rows.append(about | measure(network, paths, repeats))
    print_table(
        f"{files:,} JPEG files; ratio: of the network's own time, wanted at most {WANTED}",
        ["weight", "pixels a side", "threads", "network, s", "predict_files, s", "images/s", "ratio"],
        [
            [
                row["model"],
                *(str(row[key]) for key in ("pixels", "threads")),
                *(f"{row[subject]['median_s']:.1f}" for subject in ("network", "predict")),
                f"{row['files'] / row['predict']['median_s']:.0f}",
                f"{row['ratio']:.2f}",
            ]
            for row in rows
        ],
    )
    path = write_result(out, "predict_files", {"repeats": repeats, "wanted": WANTED, "rows": rows})
    typer.echo(f"wrote {path}")
    raise typer.Exit(0 if all(row["ratio"] <= WANTED for row in rows) else 1)


if __name__ == "__main__":
    app()
