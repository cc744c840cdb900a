"""Integers of few levels beside the same tensors in unary spikes and in digits.

    python -m benchmarks.few_digits --data DIR --work WORK ann_fast_b15_m4_d3.cifar10levels4 fast15-levels7

A name with a tag is a pretrained model, any other a run: WORK has a folder for each of its seeds, RUN-1 and so on, as
`python -m benchmarks.runs` leaves them. Top-1 is that of all seeds; additions are those of the first, on images spread
evenly over the validation split.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.common.reporting import markdown_table
from benchmarks.common.validation import read_images
from zoo.catalog.files import default_catalog
from zoo.contracts import ImageClassifier
from zoo.contracts.classifier import branch_key
from zoo.errors import InputError

WAITING = {"v_reset": None, "v_init": 0.5, "waits": True}
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""The two-sided 95 % point of Student's t, by the number of seeds."""
HEADER = ("run", "levels", "top-1, %", "unary, M", "digits, M", "integers, M")

app = typer.Typer(add_completion=False)


def in_spikes(integers: ImageClassifier, levels: int, neuron: str = "") -> ImageClassifier:
    """Build the spiking network that reads the tensors of integers: unary, or in digits by the neuron `radix`."""
    name = str(integers.spec.untagged()).replace("ann_", "sew_", 1) + "_direct" + neuron
    steps = levels.bit_length() if neuron else levels
    options = {"levels": levels} if neuron else WAITING
    spikes = zoo.create_model(name, num_classes=integers.num_classes, timesteps=steps, neuron_options=options)
    spikes.load_state_dict({branch_key(key, "spiking"): value for key, value in integers.state_dict().items()})
    return spikes.eval()


def additions(spikes: ImageClassifier, pixels: Tensor) -> tuple[float, float]:
    """Return a network's additions an image in layers that take spikes, and the set bits × weights of its twin."""
    cost = zoo.profile(spikes, images=pixels)
    assert cost.activity is not None
    assert cost.twin is not None
    assert cost.twin.activity is not None
    own = sum(layer.counted for layer in cost.activity.synapses if layer.operation == "AC")
    theirs = sum(layer.bits for layer in cost.twin.activity.synapses if layer.bits is not None)
    return own / len(pixels), theirs / len(pixels)


def in_words(figures: list[float]) -> str:
    """Write the mean of several seeds with its 95 % interval, or the figure of one."""
    if len(figures) == 1:
        return f"{figures[0]:.2f}"
    half = STUDENT[len(figures)] * stdev(figures) / len(figures) ** 0.5
    return f"{mean(figures):.2f} ± {half:.2f}"


def top1_of(work: Path, run: str) -> list[float]:
    """Return top-1 of every seed of a run.

    Raises:
        InputError: none has ended.
    """
    results = [json.loads(path.read_text("utf-8")).get("result") for path in sorted(work.glob(f"{run}-[0-9]/run.json"))]
    figures = [result["top1"] for result in results if result]
    if not figures:
        raise InputError(f"{work} has no run {run}-1 that has ended; make it with benchmarks.runs")
    return figures


def line_of(work: Path, run: str, pixels: Tensor) -> list[str]:
    """Return a run's line of the table."""
    if "." in run:
        reference, figures = run, [default_catalog().weight(zoo.parse_name(run)).metrics["top1"]]
    else:
        reference, figures = f"local-dir:{work / run}-1", top1_of(work, run)
    integers = zoo.create_model(reference).eval()
    levels = int(integers.spec.options["family"]["levels"] or 0)
    unary, bits = additions(in_spikes(integers, levels), pixels)
    digits, _ = additions(in_spikes(integers, levels, "_radix"), pixels)
    return [f"`{run}`", str(levels), in_words(figures), *(f"{each / 1e6:.2f}" for each in (unary, digits, bits))]


@app.command()
def main(
    runs: list[str],
    data: Annotated[Path, typer.Option(help="Folder with val.npz.")],
    work: Annotated[Path, typer.Option(help="Folder of the runs.")],
    count: Annotated[int, typer.Option(min=1, help="Images that additions are counted on.")] = 300,
) -> None:
    """Print the table of the runs."""
    torch.manual_seed(0)
    pixels, _ = read_images(data, count)
    typer.echo(markdown_table(HEADER, [line_of(work, run, pixels) for run in runs]))


if __name__ == "__main__":
    app()
