"""A hybrid's surcharge against its spike rate, and the rate at which spiking-only networks would equal their controls.

Every line is an energy model. The first picture draws, of a trained hybrid, energy over that of its control while all
its spikes change by one factor: it contains its control, so no line reaches 1. The other draws, for an untrained
spiking-only network with calibrated batch norms, the spike rate at which it costs what its control costs, against T;
only the lines mean something, not how often it spikes today. Run it as

    python -m benchmarks.energy_break_even --data DIR     # the folder with train.npz and val.npz
    python -m benchmarks.energy_break_even --kept         # draws the kept figures again
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.common.break_even_picture import STYLES, draw
from benchmarks.common.reporting import RESULTS, Out, write_beside, write_result
from benchmarks.common.validation import fit, read_images
from zoo.contracts import ImageClassifier
from zoo.data import load_split
from zoo.errors import InputError
from zoo.profiling import profile

HYBRID = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
SPIKING = ("snn_resnet_b8_m2_d4_ste_bpd", "sew_resnet18_rate")
NAME = "energy_break_even"
PICTURES = ("energy_surcharge.svg", "energy_break_even.svg")
"""Of the hybrid, and of the first spiking-only network."""

app = typer.Typer(add_completion=False)


def calibrated(name: str, pixels: Tensor, labels: Tensor) -> ImageClassifier:
    """An untrained network of a fixed seed, whose batch norms have seen these images (N, 3, H, W)."""
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=int(labels.max()) + 1)
    fit(model, pixels, labels, calibrating=len(pixels))
    return model


def measure(model: ImageClassifier, images: Tensor) -> dict[str, Any]:
    """Picojoules of network and control by energy model, with the shares that grow with spikes and with T."""
    cost = profile(model, images=images)
    assert cost.activity is not None
    assert cost.control is not None
    models = [
        {"name": each.name, "network": asdict(each.network), "control_pj": each.control.total}
        for each in cost.estimates
        if each.network is not None and each.control is not None and each.name in STYLES
    ]
    return {
        "name": str(model.spec),
        "control": cost.control.name,
        "contains_control": cost.contains_control,
        "spike_rate": cost.activity.spike_rate,
        "timesteps": cost.timesteps,
        "models": models,
        "break_even": [asdict(point) for point in cost.break_even],
    }


def measured(data: Path, count: int, calibrating: int) -> dict[str, Any]:
    """Everything that is drawn."""
    pixels, _ = read_images(data, count)
    split = load_split(data, "train")
    raw, labels = split.read(torch.arange(calibrating) * len(split) // calibrating)
    networks = [measure(zoo.create_model(HYBRID, pretrained=True), pixels)]
    networks += [measure(calibrated(name, raw.float() / 255, labels), pixels) for name in SPIKING]
    return {"images": count, "calibrating": calibrating, "networks": networks}


def kept(out: Path) -> dict[str, Any]:
    """Read what an earlier run wrote."""
    file = out / f"{NAME}.json"
    if not file.is_file():
        raise InputError(f"{file} is missing; run this with --data DIR first")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def frontier(out: Path) -> list[Mapping[str, Any]]:
    """Points of `benchmarks.spike_frontier`, where it was run: the hybrid trained on to fewer spikes."""
    file = out / "spike_frontier.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    return [row for row in rows if row["ratios"] and row["penalty"]]


@app.command()
def main(
    data: Annotated[Path | None, typer.Option(help="Folder with train.npz and val.npz.")] = None,
    again: Annotated[bool, typer.Option("--kept", help="Measure nothing; draw the kept figures.")] = False,
    count: Annotated[int, typer.Option(min=1, help="Validation images, spread evenly over the split.")] = 10,
    calibrating: Annotated[int, typer.Option(min=10, help="Training images for batch norms.")] = 100,
    out: Out = RESULTS,
) -> None:
    """Measure, write energy_break_even.json, draw energy_surcharge.svg and energy_break_even.svg."""
    torch.set_num_threads(1)
    if (data is None) != again:
        raise typer.BadParameter("give either --data DIR, to measure, or --kept, to draw what was measured")
    if data is not None:
        typer.echo(f"wrote {write_result(out, NAME, measured(data, count, calibrating))}")
    for picture, network in zip(PICTURES, kept(out)["networks"], strict=False):
        write_beside(out / picture, draw(network, frontier(out)))
        typer.echo(f"wrote {out / picture}")


if __name__ == "__main__":
    app()
