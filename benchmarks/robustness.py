"""The worth of each branch of a hybrid, the calibration of its probabilities, and its accuracy on worse images.

For every weight, on the same validation images: top-1 as they are; top-1 with one kind of branch giving 0 in every
block; top-1 with every spiking branch replaced by its mean over these images, a constant map; the expected calibration
error; top-1 on images with noise, blur, less contrast and stronger JPEG compression.
A control without spikes stands beside its hybrid. Run it as

    python -m benchmarks.robustness --data DIR     # the folder with train.npz and val.npz

With --catalog registry.yaml the figures go into the records of that file too, for `zoo info` and model cards.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError
from torchvision.transforms.v2 import functional as alter

from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from tools.put_block import put_block
from zoo.catalog.controls import find_control
from zoo.catalog.files import default_catalog, read_file
from zoo.catalog.records import WeightRecord
from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit, load_data
from zoo.data.images import Transform
from zoo.families.paired import PairedBlock
from zoo.files import replace_bytes
from zoo.models.factory import open_model
from zoo.registry.components import parse_name
from zoo.weights.load import stated_preprocessing

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
def silenced(model: nn.Module, branch: Branch) -> Iterator[int]:
    """Every block with its branch of that kind giving 0; yields how many blocks that are.

    Blocks without the other branch keep theirs, since nothing would be left.
    """
    parts = [answering(block) if branch == "spiking" else block.analog for block in coded_blocks(model)]
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


def answering(block: PairedBlock) -> nn.Module:
    """Return the part that answers for the spiking branch: the decoder, or on numbers the branch itself."""
    return block.get_submodule("spiking" if block.on_numbers else "decoder")


def coded_blocks(model: nn.Module) -> list[PairedBlock]:
    """Blocks that have both an analog and a spiking branch."""
    blocks = [module for module in model.modules() if isinstance(module, PairedBlock)]
    return [block for block in blocks if block.analog is not None and block.decoder is not None]


class Constant(nn.Module):
    """The same map for every image, (C, …) → (N, C, …)."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        return self.value.expand(len(x), *self.value.shape)


@contextmanager
def mean_replaced(model: ImageClassifier, pixels: Tensor) -> Iterator[int]:
    """Replace every spiking branch by its mean decoded output over `pixels`; yields how many branches that are.

    Silencing a branch removes its offset too, which later layers count on. This keeps the offset and removes what the
    branch says about an image.
    """
    blocks = coded_blocks(model)
    sums: dict[nn.Module, Tensor] = {}

    def add(part: nn.Module, inputs: Any, output: Tensor) -> None:
        total = output.double().sum(0)
        sums[part] = sums[part] + total if part in sums else total

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(answering(block).register_forward_hook(add).remove)
        classify(model, pixels)
    with ExitStack() as stack:
        for block in blocks:
            constant = Constant((sums[answering(block)] / len(pixels)).float())
            for part, module in (("encoder", nn.Identity()), ("decoder", nn.Identity()), ("spiking", constant)):
                stack.callback(setattr, block, part, getattr(block, part))
                setattr(block, part, module)
        yield len(blocks)


@torch.no_grad()
def classify(model: ImageClassifier, pixels: Tensor) -> Tensor:
    """Probabilities (N, K) of images (N, 3, H, W) in [0, 1]."""
    transform = Transform(stated_preprocessing(model))
    logits = [model(transform.normalise(batch)) for batch in pixels.split(BATCH)]
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
    model = open_model(name).build().eval().drop_timesteps()  # waiting neurons: the same answers in a T-th of the work
    plain = classify(model, pixels)
    row: dict[str, Any] = {"name": name, "top1": top1(plain, labels), "ece": calibration_error(plain, labels)}
    row["silenced"] = {}
    for branch in BRANCHES:
        with silenced(model, branch) as blocks:
            if blocks:
                row["silenced"][branch] = top1(classify(model, pixels), labels)
    with mean_replaced(model, pixels) as branches:
        row["mean_replaced"] = top1(classify(model, pixels), labels) if branches else None
    row["altered"] = {what: top1(classify(model, how(pixels)), labels) for what, how in ALTERATIONS.items()}
    return row


def with_controls(names: Sequence[str]) -> list[str]:
    """Each followed by its control, every name once."""
    catalog = default_catalog()
    records = {record.name: record for listed in catalog.weights.values() for record in listed}
    chosen: dict[str, None] = {}
    for name in names:
        chosen[name] = None
        record = records.get(name)
        control = find_control(record, record.spec_of(parse_name(record.variant))) if record else None
        if control is not None:
            chosen[control.name] = None
    return list(chosen)


def show(rows: Sequence[Mapping[str, Any]], images: int) -> None:
    """Print two tables: what branches and probabilities are worth, and what worse images cost."""
    worth = [
        [
            row["name"],
            f"{row['top1']:.2f}",
            "–" if row["mean_replaced"] is None else f"{row['mean_replaced']:.2f}",
            *(f"{row['silenced'][branch]:.2f}" if branch in row["silenced"] else "–" for branch in BRANCHES),
            f"{row['ece']:.2f}",
        ]
        for row in rows
    ]
    columns = ["weight", "top-1", "spikes' mean", "spikes silenced", "analog silenced", "calibration error"]
    print_table(f"Percent, on {images:,} validation images", columns, worth)
    worse = [[row["name"], *(f"{row['altered'][what]:.1f}" for what in ALTERATIONS)] for row in rows]
    print_table("Top-1 in percent on altered images", ["weight", *ALTERATIONS], worse)


def read(split: ImageSplit, images: int) -> tuple[Tensor, Tensor]:
    """Pixels (N, 3, H, W) in [0, 1] and labels (N,), spread evenly over the split."""
    count = min(images, len(split))
    pixels, labels = split.read(torch.arange(count) * len(split) // count)
    return pixels.float() / 255, labels


def put_figures(text: str, record: WeightRecord, row: Mapping[str, Any], images: int) -> str:
    """A registry.yaml with these figures in that record, in place of those that it had."""
    blocks = {"silenced": row["silenced"], "robustness": {"as they are": row["top1"], **row["altered"]}}
    for key, figures in blocks.items():
        if figures:
            text = put_block(text, record, key, [f"  {name}: {figure}" for name, figure in figures.items()])
    if row["mean_replaced"] is not None:
        text = put_block(text, record, "mean_replaced", [], row["mean_replaced"])
    text = put_block(text, record, "calibration_error", [], row["ece"])
    return put_block(text, record, "robustness_images", [], images)


def write_records(catalog: Path, rows: Sequence[Mapping[str, Any]], images: int) -> None:
    """Write what this file lists of the rows into it."""
    records = {record.name: record for record in read_file(catalog).weights}
    text = catalog.read_text(encoding="utf-8")
    for row in rows:
        if row["name"] in records:
            text = put_figures(text, records[row["name"]], row, images)
    replace_bytes(catalog, text.encode())


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WEIGHT]...", help="variant.tag; default: every installed one."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation images, spread evenly over the split.")] = 2000,
    catalog: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A registry.yaml to write the figures into; may be repeated."),
    ] = None,
    out: Out = RESULTS,
) -> None:
    """Measure every weight and its control, print, write."""
    torch.set_num_threads(1)
    records = [record for listed in default_catalog().weights.values() for record in listed]
    records.sort(key=lambda record: not record.control)  # those with a control first, each before its own
    chosen = with_controls(names or [record.name for record in records])
    split = load_data(data).val
    pixels, labels = read(split, images)
    rows = []
    for name in chosen:
        rows.append(measure(name, pixels, labels))
        typer.echo(f"{name}: {rows[-1]['top1']:.2f} %", err=True)
    show(rows, len(labels))
    for file in catalog or []:
        write_records(file, rows, len(labels))
    content = {"data": data.name, "images": len(labels), "calibration_bins": BINS, "rows": rows}
    path = write_result(out, "robustness", content)
    typer.echo(f"wrote {path}")


if __name__ == "__main__":
    app()
