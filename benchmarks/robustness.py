"""What each branch of a hybrid is worth, how far its probabilities can be trusted, and how it bears worse images.

For every weight, on the same validation images: top-1 as they are; top-1 with one kind of branch giving 0 in every
block; the expected calibration error; top-1 on images with noise, blur, less contrast and stronger JPEG compression.
A control without spikes stands beside its hybrid. Run it as

    python -m benchmarks.robustness --data DIR     # the folder with train.npz and val.npz
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError
from torchvision.transforms.v2 import functional as alter

from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from zoo.catalog.catalog import default_catalog
from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.images import normalise
from zoo.data.prepare import DataOptions, prepare_data
from zoo.factory import open_model
from zoo.families.paired import PairedBlock
from zoo.weights.pretrained_cfg import stated_preprocessing

BATCH, BINS = 250, 15
NOISE_SEED = 3407
Branch = Literal["spiking", "analog"]
BRANCHES: tuple[Branch, ...] = ("spiking", "analog")

app = typer.Typer(add_completion=False)


def add_noise(pixels: Tensor, deviation: float) -> Tensor:
    """Gaussian noise of that standard deviation in [0, 1], the same for every network; clipped."""
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(NOISE_SEED)) * deviation
    return (pixels + noise).clamp(0, 1)


def compress(pixels: Tensor, quality: int) -> Tensor:
    """Through a JPEG file of that quality."""
    images = []
    for image in (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        images.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


ALTERATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "noise 0.05": lambda pixels: add_noise(pixels, 0.05),
        "noise 0.1": lambda pixels: add_noise(pixels, 0.1),
        "blur 0.6": lambda pixels: alter.gaussian_blur(pixels, [5, 5], [0.6, 0.6]),
        "blur 1": lambda pixels: alter.gaussian_blur(pixels, [7, 7], [1.0, 1.0]),
        "contrast 0.5": lambda pixels: alter.adjust_contrast(pixels, 0.5),
        "contrast 0.25": lambda pixels: alter.adjust_contrast(pixels, 0.25),
        "JPEG 30": lambda pixels: compress(pixels, 30),
        "JPEG 10": lambda pixels: compress(pixels, 10),
    }
)
"""Each takes and gives (N, 3, H, W) in [0, 1].

The number is the noise's standard deviation, the blur's in pixels, what contrast is multiplied by, the file's quality.
"""


@contextmanager
def silenced(model: torch.nn.Module, branch: Branch) -> Iterator[int]:
    """Every block with its branch of that kind giving 0; yields how many blocks that are.

    Blocks without the other branch keep theirs, since nothing would be left.
    """
    both = [
        block
        for block in model.modules()
        if isinstance(block, PairedBlock) and block.analog is not None and block.decoder is not None
    ]
    parts = [block.decoder if branch == "spiking" else block.analog for block in both]
    hooks = [
        part.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        for part in parts
        if part is not None
    ]
    try:
        yield len(hooks)
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def classify(model: ImageClassifier, pixels: Tensor) -> Tensor:
    """Probabilities (N, K) of images (N, 3, H, W) in [0, 1]."""
    stated = stated_preprocessing(model)
    logits = [model(normalise(batch, stated)) for batch in pixels.split(BATCH)]
    return torch.cat(logits).softmax(1)


def top1(probabilities: Tensor, labels: Tensor) -> float:
    """In percent."""
    accuracy = MulticlassAccuracy(probabilities.shape[1], average="micro")
    return round(float(accuracy(probabilities, labels)) * 100, 4)


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """The expected calibration error in percent: how far confidence and accuracy lie apart, over 15 equal bins."""
    error = MulticlassCalibrationError(probabilities.shape[1], n_bins=BINS, norm="l1")
    return round(float(error(probabilities, labels)) * 100, 4)


def measure(name: str, pixels: Tensor, labels: Tensor) -> dict[str, Any]:
    """Every figure of one weight."""
    model = open_model(name).build().eval()
    plain = classify(model, pixels)
    row: dict[str, Any] = {"name": name, "top1": top1(plain, labels), "ece": calibration_error(plain, labels)}
    row["silenced"] = {}
    for branch in BRANCHES:
        with silenced(model, branch) as blocks:
            if blocks:
                row["silenced"][branch] = top1(classify(model, pixels), labels)
    row["altered"] = {what: top1(classify(model, how(pixels)), labels) for what, how in ALTERATIONS.items()}
    return row


def with_controls(names: Sequence[str]) -> list[str]:
    """Each followed by its control, every name once."""
    catalog = default_catalog()
    records = {record.name: record for listed in catalog.weights.values() for record in listed}
    chosen = [one for name in names for one in (name, records[name].control if name in records else "") if one]
    return list(dict.fromkeys(chosen))


def show(rows: Sequence[Mapping[str, Any]], images: int) -> None:
    """Print two tables: what branches and probabilities are worth, and what worse images cost."""
    worth = [
        [
            row["name"],
            f"{row['top1']:.2f}",
            *(f"{row['silenced'][branch]:.2f}" if branch in row["silenced"] else "–" for branch in BRANCHES),
            f"{row['ece']:.2f}",
        ]
        for row in rows
    ]
    columns = ["weight", "top-1", "spikes silenced", "analog silenced", "calibration error"]
    print_table(f"Percent, on {images:,} validation images", columns, worth)
    worse = [[row["name"], *(f"{row['altered'][what]:.1f}" for what in ALTERATIONS)] for row in rows]
    print_table("Top-1 in percent on altered images", ["weight", *ALTERATIONS], worse)


def read(split: ImageSplit, images: int) -> tuple[Tensor, Tensor]:
    """Pixels (N, 3, H, W) in [0, 1] and labels (N,), spread evenly over the split."""
    count = min(images, len(split))
    pixels, labels = split.read(torch.arange(count) * len(split) // count)
    return pixels.float() / 255, labels


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WEIGHT]...", help="variant.tag; default: every installed one whose record names a control."
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation images, spread evenly over the split.")] = 2000,
    out: Out = RESULTS,
) -> None:
    """Measure every weight and its control, print, write."""
    torch.set_num_threads(1)
    listed = default_catalog().weights.values()
    hybrids = [record.name for records in listed for record in records if record.control]
    chosen = with_controls(names or hybrids)
    split = prepare_data(data, DataOptions(), open_model(chosen[0])).val
    pixels, labels = read(split, images)
    rows = []
    for name in chosen:
        rows.append(measure(name, pixels, labels))
        typer.echo(f"{name}: {rows[-1]['top1']:.2f} %", err=True)
    show(rows, len(labels))
    content = {"data": data.name, "images": len(labels), "calibration_bins": BINS, "rows": rows}
    typer.echo(f"wrote {write_result(out, 'robustness', content)}")


if __name__ == "__main__":
    app()
