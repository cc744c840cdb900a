"""Gradient norms of every bit-plane encoder and decoder, freshly initialised: one seeded backward each.

All rows share the initial weights, the random images and the labels, so they differ by coding alone. The norms of the
paper's own surrogates are large, without γ larger still; the straight-through gradient's is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from zoo.contracts.classifier import ImageClassifier

KINDS = {
    "sigmoid": "scaled",
    "tanh": "scaled",
    "fourier": "scaled",
    "sigmoidraw": "raw",
    "tanhraw": "raw",
    "fourierraw": "raw",
    "ste": "straight-through",
}
DECODERS = ("rate", "bpd")
MUST_BE_FINITE = ("scaled", "straight-through")
CLASSES = 10

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Setting:
    """What every row shares."""

    backbone: str
    base: int
    batch: int
    image_size: int
    seed: int

    def name(self, encoder: str, decoder: str) -> str:
        """The model with this coding."""
        return f"has8_{self.backbone}_b{self.base}_m2_d4_{encoder}_{decoder}"


def norm_of(tensors: Sequence[Tensor]) -> float:
    """Euclidean norm over all of them, squares summed in float64, where float32's largest values have one too."""
    return math.sqrt(sum(float(each.double().square().sum()) for each in tensors))


def first_analog_conv(model: ImageClassifier) -> nn.Module:
    """The analog branch's convolution that sees the image."""
    return model.get_submodule(next(name for name in model.first_conv_names if ".analog." in name))


def summarise(model: ImageClassifier) -> dict[str, Any]:
    """Norms and shares after a backward; a parameter without a gradient counts as not finite."""
    parameters = list(model.parameters())
    grads = [p.grad for p in parameters if p.grad is not None]
    finite = sum(int(grad.isfinite().sum()) for grad in grads)
    return {
        "first_conv_norm": norm_of([p.grad for p in first_analog_conv(model).parameters() if p.grad is not None]),
        "total_norm": norm_of(grads),
        "finite_share": finite / sum(p.numel() for p in parameters),
        "parameters": len(parameters),
        "finite_parameters": sum(bool(grad.isfinite().all()) for grad in grads),
    }


def backward_once(name: str, setting: Setting) -> dict[str, Any]:
    """Build, run one batch of random images forward and backward in training mode, and look at the gradients."""
    torch.manual_seed(setting.seed)
    model = zoo.create_model(name, num_classes=CLASSES).train()
    torch.manual_seed(setting.seed + 1)
    images = torch.rand(setting.batch, 3, setting.image_size, setting.image_size)
    labels = torch.randint(CLASSES, (setting.batch,))
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    return {"loss": loss.item(), **summarise(model)}


def measure(setting: Setting) -> Iterator[dict[str, Any]]:
    """One row for each encoder and decoder."""
    for encoder, kind in KINDS.items():
        for decoder in DECODERS:
            name = setting.name(encoder, decoder)
            row = {"name": name, "encoder": encoder, "kind": kind, "decoder": decoder}
            yield row | backward_once(name, setting)


def judge(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names that must have finite gradients in every parameter, and have not."""
    must = [row for row in rows if row["kind"] in MUST_BE_FINITE]
    return [row["name"] for row in must if row["finite_parameters"] < row["parameters"]]


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    words = [row["encoder"], row["kind"], row["decoder"]]
    norms = [f"{row[key]:.3g}" for key in ("first_conv_norm", "total_norm")]
    return [*words, *norms, f"{100 * row['finite_share']:.1f} %", f"{row['finite_parameters']} of {row['parameters']}"]


def show(rows: Sequence[Mapping[str, Any]], setting: Setting) -> None:
    """Print the table."""
    print_table(
        f"Gradient norms at initialisation, {setting.name('…', '…')}, {setting.batch} random images of "
        f"{setting.image_size} px, seed {setting.seed}",
        ["encoder", "kind", "decoder", "first analog conv", "total", "finite", "parameters finite"],
        [cells(row) for row in rows],
        words=3,
    )


@app.command()
def main(
    backbone: Annotated[Literal["resnet", "vgg"], typer.Option(help="Which backbone.")] = "resnet",
    base: Annotated[int, typer.Option(min=1, help="Base width b.")] = 8,
    batch: Annotated[int, typer.Option(min=2, help="Images in the one batch.")] = 16,
    image_size: Annotated[int, typer.Option(min=1, help="Pixels a side; vgg needs 32.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the weights; one more is that of images and labels.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; another number may round otherwise.")] = 1,
    out: Out = RESULTS,
) -> None:
    """Measure every coding; exit status 1 where a γ-scaled or straight-through gradient is not finite."""
    torch.set_num_threads(threads)
    setting = Setting(backbone, base, batch, image_size, seed)
    rows = list(measure(setting))
    show(rows, setting)
    broken = judge(rows)
    typer.echo(
        f"γ-scaled and ste: {'NOT finite in ' + ', '.join(broken) if broken else 'finite in every parameter'}; "
        "raw: listed, not judged"
    )
    content = {"settings": asdict(setting) | {"threads": threads}, "rows": rows, "verdict": {"not_finite": broken}}
    typer.echo(f"wrote {write_result(out, f'gradient_norms_{backbone}_b{base}', content)}")
    raise typer.Exit(1 if broken else 0)


if __name__ == "__main__":
    app()
