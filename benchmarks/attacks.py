"""Accuracy under attack: every pixel moved by at most ε where it hurts most, by FGSM and PGD.

FGSM (arXiv:1412.6572) moves all pixels once by ε along the sign of the gradient of the loss, PGD (arXiv:1706.06083) ten
times by ε/4, back into [−ε, ε] each time. Gradients of spikes are their surrogates', so another attack may do more.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.common.reporting import RESULTS, Out, as_code, markdown_table, print_table, write_beside, write_result
from benchmarks.robustness import classify, read, top1, with_controls
from zoo.contracts.classifier import ImageClassifier
from zoo.data import load_data
from zoo.data.images import Transform
from zoo.models.factory import open_model
from zoo.weights.load import stated_preprocessing

BATCH, STEPS, SEED = 50, 10, 3407
LEVELS = (2, 8)  # ε, of 255
app = typer.Typer(add_completion=False)


def slope(model: ImageClassifier, pixels: Tensor, labels: Tensor) -> Tensor:
    """Sign of the gradient of the loss, for pixels (N, 3, H, W) in [0, 1]."""
    x = pixels.clone().requires_grad_()
    logits = model(Transform(stated_preprocessing(model)).normalise(x))
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), x)
    return gradient.sign()


def fgsm(model: ImageClassifier, pixels: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """One step of ε."""
    return (pixels + epsilon * slope(model, pixels, labels)).clamp(0, 1)


def pgd(model: ImageClassifier, pixels: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Ten steps of ε/4 from a random place within ε."""
    start = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(SEED))
    moved = (pixels + epsilon * (2 * start - 1)).clamp(0, 1)
    for _ in range(STEPS):
        moved = moved + epsilon / 4 * slope(model, moved, labels)
        moved = (pixels + (moved - pixels).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved


def measure(name: str, pixels: Tensor, labels: Tensor) -> dict[str, Any]:
    """Top-1 in percent of a weight, as the images are and under every attack."""
    model = open_model(name).build().eval().requires_grad_(False)
    row: dict[str, Any] = {"weight": name, "top-1": top1(classify(model, pixels), labels)}
    for attack, levels in product((fgsm, pgd), LEVELS):
        batches = zip(pixels.split(BATCH), labels.split(BATCH), strict=True)
        moved = torch.cat([attack(model, *batch, levels / 255) for batch in batches])
        row[f"{attack.__name__.upper()} {levels}/255"] = top1(classify(model, moved), labels)
    return row


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    names: Annotated[list[str], typer.Argument(metavar="WEIGHT...", help="variant.tag; its control follows.")],
    images: Annotated[int, typer.Option(min=1, help="Validation images, spread evenly over the split.")] = 200,
    out: Out = RESULTS,
) -> None:
    """Attack every weight and its control, print, write."""
    torch.set_num_threads(1)
    pixels, labels = read(load_data(data).val, images)
    rows = [measure(name, pixels, labels) for name in with_controls(names)]
    lines = [[name, *(f"{figure:.1f}" for figure in figures)] for name, *figures in map(dict.values, rows)]
    print_table(f"Top-1 in percent, on {len(labels):,} validation images", list(rows[0]), lines)
    path = write_result(out, "attacks", {"data": data.name, "images": len(labels), "rows": rows})
    write_beside(path.with_suffix(".md"), (markdown_table(list(rows[0]), as_code(lines)) + "\n").encode())
    typer.echo(f"wrote {path} and {path.with_suffix('.md').name}")


if __name__ == "__main__":
    app()
