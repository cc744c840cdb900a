"""Top-1 after each frame of a network that streams: `python -m benchmarks.partial_answers NAME DATA`."""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from zoo_events.picture import answers_over_time

import zoo
from benchmarks.common.reporting import print_table
from zoo.data.load import sample_images

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str, data: str, limit: Annotated[int, typer.Option(min=1, help="Images of DATA.")] = 1000) -> None:
    """Print which part of the images a network names rightly after every frame."""
    model, sample = zoo.create_model(name).eval(), sample_images(data, limit)
    frames = (torch.from_numpy(levels).float() / 255 for levels, _ in sample)
    right = [
        answers_over_time(model, each).argmax(1) == label for each, label in zip(frames, sample.labels, strict=True)
    ]
    shares = 100 * torch.stack(right).float().mean(0)
    print_table(name, ["frame", "top-1 %"], [[str(at), f"{share:.1f}"] for at, share in enumerate(shares, 1)])


if __name__ == "__main__":
    app()
