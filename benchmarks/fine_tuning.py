"""A hybrid that starts from a published kind of weight, against the same hybrid from scratch, on a small folder.

timm's ResNet-18 is trained by a plain loop on the even classes of the data, kept as the .safetensors that timm reads,
and converted as any file of timm's. The hybrid is then trained on a few images of each odd class: from that control,
with its spiking branches at full strength and with `gain=0`, and from scratch. The network without spikes goes through
the same beside it. All are measured on validation images of the odd classes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
import typer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import normalize, resize
from torchvision.utils import save_image
from zoo_convert import convert

from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.common.validation import percent_right
from zoo.data import ImageSplit, load_split
from zoo.training import DataOptions, train

HYBRID, CONTROL = "has8_resnet_b64_m2_d4_ste_bpd", "ann_resnet_b64_m2_d4"
RECIPE = "finetune"
ARMS: tuple[tuple[str, str, float | None], ...] = (
    (HYBRID, "scratch", None),
    (HYBRID, "control", None),
    (HYBRID, "control", 0.0),
    (CONTROL, "scratch", None),
    (CONTROL, "control", None),
)
"""(network, what it begins with, what the factor on its spiking branches begins at)."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Budget:
    """Images, epochs and seeds.

    Attributes:
        images: of each even class, to train timm's network with.
        epochs: of that training.
        shots: training images of each odd class.
        tuning_epochs: of every run on them.
        validation: images of each odd class.
        seeds: runs of each kind, every one with other training images.
        image_size: pixels a side; smaller images are enlarged.
    """

    images: int
    epochs: int
    shots: int
    tuning_epochs: int
    validation: int
    seeds: int
    image_size: int


def take(split: ImageSplit, classes: Sequence[int], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pixels (N, 3, H, W) in [0, 1] and labels (N,) of `count` images of each class, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(split.labels)
    order = torch.randperm(len(labels), generator=generator)
    rows = torch.cat([order[labels[order] == label][:count] for label in classes])
    pixels, taken = split.read(rows)
    return pixels.float() / 255, taken


def write_folder(split: ImageSplit, folder: Path, classes: Sequence[int], count: int, seed: int) -> None:
    """Write images as a folder of class folders, as PNG."""
    pixels, labels = take(split, classes, count, seed)
    for number, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        own = folder / split.classes[label]
        own.mkdir(parents=True, exist_ok=True)
        save_image(image, own / f"{number:05d}.png")


def prepare(pixels: Tensor, size: int) -> Tensor:
    """Images as timm's default weights of ResNet-18 take them, of `size` pixels a side."""
    cfg = timm.get_pretrained_cfg("resnet18")
    images = normalize(resize(pixels, [size, size]), list(cfg.mean), list(cfg.std))
    return images.contiguous(memory_format=torch.channels_last)


def train_timm(pixels: Tensor, labels: Tensor, classes: int, budget: Budget) -> nn.Module:
    """Train timm's ResNet-18 by a loop of torch alone."""
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    steps = [rows for _ in range(budget.epochs) for rows in torch.randperm(len(labels)).split(64) if len(rows) == 64]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    for rows in steps:
        mirrored = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, pixels[rows].flip(3), pixels[rows])
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(prepare(mirrored, budget.image_size))
        functional.cross_entropy(logits.float(), labels[rows], label_smoothing=0.1).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return net.eval()


def make_control(train_split: ImageSplit, val_split: ImageSplit, work: Path, budget: Budget) -> tuple[Path, float]:
    """Train timm's network on the even classes and convert it; returns the folder, and top-1 of timm's network."""
    file, out = work / "resnet18-even.safetensors", work / "converted"
    classes = range(0, len(train_split.classes), 2)
    pixels, labels = take(train_split, classes, budget.images, 0)
    net = train_timm(pixels, labels // 2, len(classes), budget)
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, file)
    convert("timm", file, out, image_size=budget.image_size)
    pixels, labels = take(val_split, classes, budget.validation, 2)
    with torch.no_grad():
        logits = torch.cat([net(prepare(each, budget.image_size)) for each in pixels.split(100)])
    return out, percent_right(logits, labels // 2)


def tune(arm: tuple[str, str, float | None], seed: int, control: Path, data: Path, budget: Budget) -> dict[str, Any]:
    """Train one network on a few images of the odd classes, and measure it."""
    name, start, gain = arm
    reference = f"local-dir:{control}"
    result = train(
        reference if (name, start) == (CONTROL, "control") else name,
        data,
        recipe=RECIPE,
        changes={"seed": seed, "epochs": budget.tuning_epochs},
        out=data.parent / f"run-{name}-{start}-{gain}-{seed}",
        tag="odd",
        control=reference if (name, start) == (HYBRID, "control") else None,
        model_options={} if gain is None else {"family": {"gain": gain}},
        options=DataOptions(image_size=budget.image_size),
    )
    figures = {key: result.metrics[key] for key in ("top1", "loss")}
    figures |= {"images": result.evaluation.images, "steps": result.rows[-1].step}
    return {"name": name, "start": start, "gain": gain, "seed": seed, **figures}


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and range of every kind of run, and its least lead over the same network from scratch, in points."""
    scratch = {(row["name"], row["seed"]): row["top1"] for row in rows if row["start"] == "scratch"}
    summary = []
    for name, start, gain in ARMS:
        of_arm = [row for row in rows if (row["name"], row["start"], row["gain"]) == (name, start, gain)]
        top1 = [row["top1"] for row in of_arm]
        spread = {"mean": statistics.mean(top1), "least": min(top1), "most": max(top1)}
        lead = min(row["top1"] - scratch[name, row["seed"]] for row in of_arm)
        about = {"name": name, "start": start, "gain": gain, "seeds": len(top1)}
        summary.append(about | spread | {"lead": None if start == "scratch" else lead})
    return summary


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")] = Path("cifar10-jpeg"),
    images: Annotated[int, typer.Option(min=16, help="Of each even class, to train timm's network.")] = 1500,
    epochs: Annotated[int, typer.Option(min=1, help="Of timm's network.")] = 2,
    shots: Annotated[int, typer.Option(min=1, help="Training images of each odd class.")] = 50,
    tuning_epochs: Annotated[int, typer.Option(min=1, help="Of every run on the odd classes.")] = 3,
    validation: Annotated[int, typer.Option(min=1, help="Validation images of each class.")] = 40,
    seeds: Annotated[int, typer.Option(min=1, help="Of each kind of run; every one has other images.")] = 3,
    image_size: Annotated[int, typer.Option(min=16, help="Pixels a side.")] = 32,
    out: Out = RESULTS,
) -> None:
    """Measure all, print, write."""
    torch.set_num_threads(1)
    budget = Budget(images, epochs, shots, tuning_epochs, validation, seeds, image_size)
    train_split, val_split = load_split(data, "train"), load_split(data, "val")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        control, top1 = make_control(train_split, val_split, work, budget)
        typer.echo(f"timm's network on its own classes: {top1:.2f} %", err=True)
        odd = range(1, len(train_split.classes), 2)
        for seed in range(seeds):
            folder = work / f"odd-{seed}"
            write_folder(train_split, folder / "train", odd, shots, seed)
            write_folder(val_split, folder / "val", odd, validation, 2)  # the same ones for every run
            rows += [tune(arm, seed, control, folder, budget) for arm in ARMS]
    summary = summarise(rows)
    lines = [
        [row["name"], row["start"], *("" if row[key] is None else f"{row[key]:g}" for key in ("gain", "seeds"))]
        + [f"{row[key]:.2f} %" for key in ("mean", "least", "most")]
        for row in summary
    ]
    title = f"Top-1 on {rows[0]['images']:,} images of classes that the control never saw; {shots} images of each"
    print_table(title, ["network", "begins with", "gain", "seeds", "mean", "least", "most"], lines, words=3)
    content = {"settings": asdict(budget), "control_top1": top1, "rows": rows, "summary": summary}
    typer.echo(f"wrote {write_result(out, 'fine_tuning', content)}")


if __name__ == "__main__":
    app()
