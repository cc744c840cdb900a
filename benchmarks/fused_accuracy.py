"""Top-1 with and without `fuse()`, in float32 and under autocast to bfloat16, on the same validation images.

Folding a batch norm moves rounding, and rounding flips bit planes: single predictions change, accuracy must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.common.validation import Data, logits_of, percent_right, read_images
from zoo.contracts import ImageClassifier
from zoo.errors import ZooError

DEFAULT_NAMES = ("has8_resnet_b8_m2_d4_ste_bpd", "ann_resnet_b8_m2_d4")
MAX_POINTS = 0.3
"""What top-1 may differ by from that of the network as it is, unfused in float32, in percentage points."""
FORMS = ("unfused float32", "unfused bfloat16", "fused float32", "fused bfloat16")

app = typer.Typer(add_completion=False)


def predict(model: ImageClassifier, pixels: Tensor, batch: int) -> dict[str, Tensor]:
    """Logits (n, classes) in each form; `model` is fused afterwards."""
    found = {}
    for form in FORMS:
        if form.startswith("fused"):
            model.fuse()
        with torch.autocast("cpu", torch.bfloat16, enabled=form.endswith("bfloat16")):
            found[form] = logits_of(model, pixels, batch)
    return found


def compare(logits: Tensor, plain: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 in percent, its difference in points with the standard error of that, and the share of equal predictions.

    The error is that of a difference measured on the same images: of those that only one of both recognises.
    """
    right, before = (each.argmax(1) == labels for each in (logits, plain))
    return {
        "top1": percent_right(logits, labels),
        "points": percent_right(logits, labels) - percent_right(plain, labels),
        "standard_error": 100 * float((right != before).sum()) ** 0.5 / len(labels),
        "equal_predictions": float((logits.argmax(1) == plain.argmax(1)).double().mean()),
    }


def measure(name: str, pixels: Tensor, labels: Tensor, batch: int) -> dict[str, Any]:
    """One network in every form."""
    model = zoo.create_model(name, pretrained=True).eval()
    found = predict(model, pixels, batch)
    forms = {form: compare(logits, found[FORMS[0]], labels) for form, logits in found.items()}
    return {"name": str(model.spec), "images": len(labels), "forms": forms}


def judge(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the networks whose top-1 is another one in some form."""
    return [row["name"] for row in rows if any(abs(each["points"]) > MAX_POINTS for each in row["forms"].values())]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line for each network and form."""
    lines = []
    for row in rows:
        for form, found in row["forms"].items():
            points = f"{found['points']:+.2f} ± {found['standard_error']:.2f}"
            line = [row["name"], form, str(row["images"]), f"{found['top1']:.2f}", points]
            lines.append([*line, f"{found['equal_predictions']:.2%}"])
    columns = ["model", "form", "images", "top-1", "points ± standard error", "same prediction"]
    print_table("Beside the network unfused in float32", columns, lines, words=2)


@app.command()
def main(
    data: Data,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models with weights.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Validation images; all of them unless given.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 100,
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 where top-1 differs by over 0.3 points from that unfused in float32."""
    torch.set_num_threads(1)
    try:
        pixels, labels = read_images(data, images)
        rows = [measure(name, pixels, labels, batch) for name in names or DEFAULT_NAMES]
    except ZooError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    show(rows)
    moved = judge(rows)
    verdict = {"most_points": MAX_POINTS, "moved": moved}
    typer.echo(f"wrote {write_result(out, 'fused_accuracy', {'rows': rows, 'verdict': verdict})}")
    typer.echo(f"MOVED: {', '.join(moved)}" if moved else f"every top-1 is within {MAX_POINTS} points")
    raise typer.Exit(1 if moved else 0)


if __name__ == "__main__":
    app()
