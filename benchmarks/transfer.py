"""Fine-tuning against training from scratch, on five images of each of five classes that the weight never saw.

A network is trained on the even classes of the data, and then, by the same recipe and the same steps, twice on a folder
of a few images of the odd ones: beginning with that weight under a new head, and beginning with nothing. Both are
measured on all validation images of the odd classes. The network without spikes goes through the same beside it.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from zoo.training import load_recipe, train

STARTS = ("scratch", "fine-tuned")

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Budget:
    """What is spent on each run.

    Attributes:
        images: of the even classes, to train the first weight with.
        epochs: of that training.
        shots: images of each odd class.
        recipe: of fine-tuning and of scratch.
        seeds: how many of each, every one with other images.
    """

    images: int
    epochs: int
    shots: int
    recipe: str
    seeds: int


class Packed:
    """A packed split, to take images from as they are, encoded."""

    def __init__(self, file: Path) -> None:
        with np.load(file) as arrays:
            self.data, self.offsets = arrays["jpeg"], arrays["offsets"]
            self.labels, self.classes = arrays["labels"], [str(name) for name in arrays["classes"]]

    def rows(self, label: int, count: int | None, seed: int) -> np.ndarray:
        """Rows of a class: all, or so many drawn by the seed."""
        found = np.flatnonzero(self.labels == label)
        return found if count is None else np.random.default_rng((seed, label)).permutation(found)[:count]

    def write(self, folder: Path, labels: Sequence[int], count: int | None, seed: int = 0) -> None:
        """An ImageFolder of these classes, with as many images of each, or all."""
        for label in labels:
            own = folder / self.classes[label]
            own.mkdir(parents=True)
            for row in self.rows(label, count, seed):
                image = self.data[self.offsets[row] : self.offsets[row + 1]]
                (own / f"{row:05d}.jpg").write_bytes(image.tobytes())


def pretrain(name: str, data: Path, work: Path, budget: Budget) -> Path:
    """The folder of a weight of the even classes; a run that is there already is taken."""
    out = work / f"{name}-even"
    train(name, data, out=out, resume=True, tag="even", changes={"epochs": budget.epochs}, recipe="modern")
    return out


def compare(name: str, even: Path, data: Path, work: Path, budget: Budget) -> Iterator[dict[str, Any]]:
    """Accuracy on the odd classes, for every seed and both beginnings."""
    for seed in range(budget.seeds):
        for start, beginning in zip(STARTS, (name, f"local-dir:{even}"), strict=True):
            out = work / f"{name}-{start}-{seed}"
            folder = data / f"odd-{seed}"
            result = train(beginning, folder, recipe=budget.recipe, changes={"seed": seed}, out=out, resume=True)
            assert result.evaluation.images > budget.shots
            yield {
                "name": name,
                "start": start,
                "seed": seed,
                "top1": result.metrics["top1"],
                "loss": result.metrics["loss"],
                "train_top1": result.rows[-1].train_top1,
                "images": result.evaluation.images,
                "steps": result.rows[-1].step,
            }


def make_data(train_file: Path, val_file: Path, work: Path, budget: Budget) -> Path:
    """Folders: `even` with its validation, and `odd-SEED` with few training images and all validation images."""
    training, validation = Packed(train_file), Packed(val_file)
    labels = range(len(training.classes))
    even, odd = labels[::2], labels[1::2]
    data = work / "data"
    if not data.exists():
        each = budget.images // len(even)
        training.write(data / "even" / "train", even, each)
        validation.write(data / "even" / "val", even, None)
        for seed in range(budget.seeds):
            training.write(data / f"odd-{seed}" / "train", odd, budget.shots, seed)
            validation.write(data / f"odd-{seed}" / "val", odd, None)
    return data


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and range of every network and beginning."""
    found = []
    for name in dict.fromkeys(row["name"] for row in rows):
        for start in STARTS:
            top1 = [row["top1"] for row in rows if (row["name"], row["start"]) == (name, start)]
            spread = {"mean": statistics.mean(top1), "least": min(top1), "most": max(top1)}
            found.append({"name": name, "start": start, "seeds": len(top1), **spread})
    return found


def judge(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether fine-tuning is better with every network and every seed."""
    top1 = {(row["name"], row["seed"], row["start"]): row["top1"] for row in rows}
    return all(value > top1[name, seed, "scratch"] for (name, seed, start), value in top1.items() if start != "scratch")


def show(found: Sequence[dict[str, Any]], budget: Budget, images: int) -> None:
    """Print the table."""
    steps = load_recipe(budget.recipe).epochs
    print_table(
        f"Top-1 on {images:,} validation images of classes held out of the first training, after {steps} epochs on "
        f"{budget.shots} images of each; chance is 20 %",
        ["network", "begins with", "seeds", "mean", "least", "most"],
        [
            [row["name"], row["start"], str(row["seeds"]), *(f"{row[key]:.2f} %" for key in ("mean", "least", "most"))]
            for row in found
        ],
        words=2,
    )


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")] = Path("cifar10-jpeg"),
    name: Annotated[
        str, typer.Option(help="The network; its control is trained too.")
    ] = "has8_resnet_b8_m2_d4_ste_bpd",
    images: Annotated[int, typer.Option(min=10, help="Of the even classes, for the first weight.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, help="Of the first weight.")] = 6,
    shots: Annotated[int, typer.Option(min=1, help="Images of each odd class.")] = 5,
    recipe: Annotated[str, typer.Option(help="Of fine-tuning and of scratch.")] = "finetune",
    seeds: Annotated[int, typer.Option(min=1, help="Of each; every one has other images.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    work: Annotated[Path | None, typer.Option(help="Keeps the runs, and goes on with them; else they go.")] = None,
    out: Out = RESULTS,
) -> None:
    """Measure both; exit status 1 where fine-tuning is not better with every seed."""
    torch.set_num_threads(threads)
    budget = Budget(images, epochs, shots, recipe, seeds)
    control = zoo.parse_name(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        made = make_data(data / "train.npz", data / "val.npz", folder, budget)
        rows: list[dict[str, Any]] = []
        for each in (name, f"ann_{control['backbone']}_b{control['base']}_m{control['mult']}_d{control['depth']}"):
            even = pretrain(each, made / "even", folder, budget)
            rows += compare(each, even, made, folder, budget)
    found = summarise(rows)
    show(found, budget, rows[0]["images"])
    better = judge(rows)
    typer.echo(f"fine-tuning is {'better' if better else 'NOT better'} with every network and every seed")
    settings = asdict(budget) | {"threads": threads, "settings": load_recipe(recipe).model_dump(mode="json")}
    content = {"settings": settings, "rows": rows, "summary": found, "verdict": {"better_with_every_seed": better}}
    typer.echo(f"wrote {write_result(out, 'transfer', content)}")
    raise typer.Exit(0 if better else 1)


if __name__ == "__main__":
    app()
