"""Train a model by name on packed images: `python -m zoo.training NAME --train train.npz --val val.npz --out DIR`.

Made the bundled weight. Killed at any moment, the same command goes on after the last whole epoch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from zoo.factory import create_model
from zoo.training.loop import Training, evaluate, save_weights
from zoo.training.packed import load_packed
from zoo.training.recipes import load_recipe


def main(
    name: Annotated[str, typer.Argument(help="Model name, such as has8_resnet_b8_m2_d4_ste_bpd.")],
    train: Annotated[Path, typer.Option(help="Packed training split (.npz).")],
    val: Annotated[Path, typer.Option(help="Packed validation split (.npz), looked at once, at the end.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, the log and model.safetensors.")],
    recipe: Annotated[str, typer.Option(help="Settings, by name.")] = "bundled",
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the recipe's.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train, then measure once on the validation split."""
    if threads:
        torch.set_num_threads(threads)
    settings = load_recipe(recipe)
    if epochs is not None:
        settings = settings.model_copy(update={"epochs": epochs})
    out.mkdir(parents=True, exist_ok=True)
    data = load_packed(train)
    torch.manual_seed(settings.seed)
    model = create_model(name, num_classes=len(data.classes))
    training = Training(model, data, settings, out)
    if training.resume():
        typer.echo(f"going on after epoch {training.epoch}")

    def report(row: dict[str, Any]) -> None:
        with (out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        typer.echo(
            f"epoch {row['epoch']}/{settings.epochs} step {row['step']}/{row['steps']} loss {row['loss']:.4f} "
            f"top-1 {row['top1']:.2f} % norm {row['grad_norm']:.2f} {row['images_per_second']:.0f} images/s"
        )

    model = training.run(report)
    save_weights(model, out / "model.safetensors")
    metrics = evaluate(model, load_packed(val))
    summary = {"name": name, "recipe": recipe, "settings": settings.model_dump(), "metrics": metrics}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(metrics))


if __name__ == "__main__":
    typer.run(main)
