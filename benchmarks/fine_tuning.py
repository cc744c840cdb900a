"""A hybrid that starts from a published kind of weight, against the same hybrid from scratch, on a small folder.

A ResNet-18 of timm's is trained by a plain loop on the even classes of the data, kept as the .safetensors that timm
reads, and converted as any file of timm's. The hybrid is then trained on a few images of each odd class, from that
control, with its spiking branches at full strength and with `gain=0`, and from scratch. The network without spikes goes
through the same beside it. All are measured on validation images of the odd classes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
import torch
import typer
from safetensors.torch import save_file
from torch.nn import functional

from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.transfer import Packed
from zoo.catalog.schema import Preprocessing
from zoo.data import ImageSplit, load_data
from zoo.data.images import normalise
from zoo.names import Options
from zoo.saving.convert import convert
from zoo.training import DataOptions, load_recipe, train

HYBRID, CONTROL = "has8_resnet_b64_m2_d4_ste_bpd", "ann_resnet_b64_m2_d4"
RECIPE = "finetune"
FILE = "resnet18-even.safetensors"
ODD_VALIDATION = 2
"""Which seed draws the validation images: the same ones for every run."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Budget:
    """What is spent.

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


@dataclass(frozen=True)
class Arm:
    """One kind of run.

    Attributes:
        name: of the network.
        start: what it begins with.
        gain: what the factor on its spiking branches begins at; None for branches without one.
    """

    name: str
    start: Literal["scratch", "control"]
    gain: float | None = None

    @property
    def label(self) -> str:
        """Of its folder."""
        return f"{self.name}-{self.start}" + ("" if self.gain is None else f"-gain{self.gain:g}")

    @property
    def options(self) -> Options:
        """Of the model."""
        return {} if self.gain is None else {"family": {"gain": self.gain}}


ARMS = (
    Arm(HYBRID, "scratch"),
    Arm(HYBRID, "control"),
    Arm(HYBRID, "control", 0.0),
    Arm(CONTROL, "scratch"),
    Arm(CONTROL, "control"),
)


def make_data(train_file: Path, val_file: Path, work: Path, budget: Budget) -> Path:
    """Folders: `even` to train timm's network with, and `odd-SEED`; both with validation images."""
    training, validation = Packed(train_file), Packed(val_file)
    labels = range(len(training.classes))
    even, odd = labels[::2], labels[1::2]
    data = work / "data"
    if not data.exists():
        training.write(data / "even" / "train", even, budget.images)
        validation.write(data / "even" / "val", even, budget.validation, ODD_VALIDATION)
        for seed in range(budget.seeds):
            training.write(data / f"odd-{seed}" / "train", odd, budget.shots, seed)
            validation.write(data / f"odd-{seed}" / "val", odd, budget.validation, ODD_VALIDATION)
    return data


def timm_preparation(size: int) -> Preprocessing:
    """Images as timm's default weights of that network take them, but of this size."""
    cfg = timm.get_pretrained_cfg("resnet18")
    return Preprocessing(size=size, mean=cfg.mean, std=cfg.std)


def train_timm(split: ImageSplit, file: Path, budget: Budget) -> None:
    """Train timm's ResNet-18 by a loop of torch alone, and write its state dict."""
    prepared, batch = timm_preparation(budget.image_size), 64
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=len(split.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.epochs * (len(split) // batch))
    for epoch in range(budget.epochs):
        for x, labels in batches(split, batch, prepared, torch.Generator().manual_seed(epoch)):
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(x)
            functional.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, file)


@torch.no_grad()
def measure_timm(split: ImageSplit, file: Path, budget: Budget) -> float:
    """Top-1 in percent of what `train_timm` wrote, by timm's own network."""
    net = timm.create_model("resnet18", num_classes=len(split.classes), checkpoint_path=str(file)).eval()
    pairs = batches(split, 100, timm_preparation(budget.image_size))
    right = torch.cat([net(x).argmax(1) == labels for x, labels in pairs])
    return 100 * float(right.double().mean())


def batches(
    split: ImageSplit, size: int, prepared: Preprocessing, shuffle: torch.Generator | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels; shuffled ones are mirrored at random, and their last incomplete batch is left out."""
    rows = torch.arange(len(split)) if shuffle is None else torch.randperm(len(split), generator=shuffle)
    for part in rows.split(size):
        if shuffle is not None and len(part) < size:
            return
        pixels, labels = split.read(part)
        if shuffle is not None:
            mirrored = torch.rand(len(part), 1, 1, 1, generator=shuffle) < 0.5
            pixels = torch.where(mirrored, pixels.flip(3), pixels)
        x = normalise(pixels.float() / 255, prepared)
        yield x.contiguous(memory_format=torch.channels_last), labels


def make_control(data: Path, work: Path, budget: Budget) -> tuple[Path, float]:
    """The converted control, and top-1 of timm's network on its own classes; what is in `work` already is taken."""
    file, out = work / FILE, work / "converted"
    splits = load_data(data, image_size=budget.image_size)
    if not out.exists():
        train_timm(splits.train, file, budget)
        convert("timm", file, out, image_size=budget.image_size)
    return out, measure_timm(splits.val, file, budget)


def tune(arm: Arm, seed: int, control: Path, data: Path, work: Path, budget: Budget) -> dict[str, Any]:
    """One run on the odd classes; one that is in `work` already is taken."""
    reference = f"local-dir:{control}"
    converted = arm.start == "control"
    result = train(
        reference if converted and arm.name == CONTROL else arm.name,
        data / f"odd-{seed}",
        recipe=RECIPE,
        changes={"seed": seed, "epochs": budget.tuning_epochs},
        out=work / f"{arm.label}-{seed}",
        resume=True,
        tag="odd",
        control=reference if converted and arm.name == HYBRID else None,
        model_options=arm.options,
        options=DataOptions(image_size=budget.image_size),
    )
    figures = {key: result.metrics[key] for key in ("top1", "loss")}
    counts = {"images": result.evaluation.images, "steps": result.rows[-1].step}
    return asdict(arm) | {"seed": seed, **figures, "train_top1": result.rows[-1].train_top1, **counts}


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and range of every kind of run."""
    summary = []
    for arm in ARMS:
        top1 = [row["top1"] for row in rows if Arm(row["name"], row["start"], row["gain"]) == arm]
        spread = {"mean": statistics.mean(top1), "least": min(top1), "most": max(top1)}
        summary.append(asdict(arm) | {"seeds": len(top1), **spread})
    return summary


def margins(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of every kind of run from the control, the least lead over the same network from scratch, in points."""
    scratch = {(row["name"], row["seed"]): row["top1"] for row in rows if row["start"] == "scratch"}
    leads: dict[str, list[float]] = {}
    for row in rows:
        if row["start"] == "control":
            label = Arm(row["name"], row["start"], row["gain"]).label
            leads.setdefault(label, []).append(row["top1"] - scratch[row["name"], row["seed"]])
    return {label: min(values) for label, values in leads.items()}


def show(summary: Sequence[dict[str, Any]], budget: Budget, images: int) -> None:
    """Print the table."""
    print_table(
        f"Top-1 on {images:,} validation images at {budget.image_size} px of classes that the control never saw, after "
        f"{budget.tuning_epochs} epochs on {budget.shots} images of each",
        ["network", "begins with", "gain", "seeds", "mean", "least", "most"],
        [
            [
                *(row["name"], row["start"], "" if row["gain"] is None else f"{row['gain']:g}", str(row["seeds"])),
                *(f"{row[key]:.2f} %" for key in ("mean", "least", "most")),
            ]
            for row in summary
        ],
        words=3,
    )


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
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    work: Annotated[Path | None, typer.Option(help="Keeps the runs, and goes on with them; else they go.")] = None,
    out: Out = RESULTS,
) -> None:
    """Measure all; exit status 1 where a run from the control does not lead with every seed."""
    torch.set_num_threads(threads)
    budget = Budget(images, epochs, shots, tuning_epochs, validation, seeds, image_size)
    with tempfile.TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        made = make_data(data / "train.npz", data / "val.npz", folder, budget)
        control, top1 = make_control(made / "even", folder, budget)
        typer.echo(f"timm's network on its own classes: {top1:.2f} %")
        rows = []
        for seed in range(seeds):
            for arm in ARMS:
                rows.append(tune(arm, seed, control, made, folder, budget))
                typer.echo(f"{arm.label}, seed {seed}: {rows[-1]['top1']:.2f} %")
    summary, leads = summarise(rows), margins(rows)
    show(summary, budget, rows[0]["images"])
    better = all(lead > 0 for lead in leads.values())
    said = ", ".join(f"{label} {lead:+.2f}" for label, lead in leads.items())
    typer.echo(f"least lead over the same from scratch, in points: {said}")
    settings = asdict(budget) | {"threads": threads, "settings": load_recipe(RECIPE).model_dump(mode="json")}
    verdict = {"least_lead": leads, "better_with_every_seed": better}
    content = {"settings": settings, "control_top1": top1, "rows": rows, "summary": summary, "verdict": verdict}
    typer.echo(f"wrote {write_result(out, 'fine_tuning', content)}")
    raise typer.Exit(0 if better else 1)


if __name__ == "__main__":
    app()
