"""Speed and memory of HAS-8 on a GPU, beside its bare layers, the published arithmetic and two peers, in 8 minutes.

- ours: as it is, with the zoo's Triton kernels; for inference also with folded norms; and by torch.compile;
- its bare layers: the same convolutions, norms and linear layers alone, forward and backward;
- plain: the published arithmetic, written from the equations;
- peers: spikingjelly's SEW-ResNet18 at T = 8, which takes its own Triton kernels where there are any, and
  torchvision's ResNet18.

All in channels_last and bfloat16 by autocast, at 224 pixels and batch 64, each in a process of its own (with `--quick`
in this one). No network and
no weights are needed. Beside it, how many JPEG files a second the CPU's threads make tensors of. Without a GPU
`--device cpu --quick` shows that it runs, and writes nothing.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.reporting import RESULTS, Out, print_table, version_of, write_result
from benchmarks.gpu_speed.feeding import measure_feeding
from benchmarks.gpu_speed.steps import measure, measure_apart, subjects_of
from benchmarks.speed.steps import Work

MODEL, ENCODERS = "resnet_b32_m2_d4", ("ste", "fourier")
QUICK_MODEL, QUICK_ENCODERS = "resnet_b1_m1_d1", ("ste",)
MINUTES = 8.0
AT_END = 20.0
"""Seconds kept for decoding and writing."""

app = typer.Typer(add_completion=False)


class Device(StrEnum):
    cuda = "cuda"
    cpu = "cpu"


def measure_all(lines: Sequence[tuple[str, Any]], deadline: float, apart: bool) -> list[dict[str, Any]]:
    """A row for each line; one that finds no time says so, and in this process one that compiles for minutes."""
    rows = []
    for task, subject in lines:
        left = deadline - time.monotonic()
        if not apart and subject.compiled:
            measured: dict[str, Any] = {"failed": "not in --quick"}
        elif left <= 1:
            measured = {"failed": "out of time"}
        else:
            measured = measure_apart(subject, left) if apart else measure(subject)
        rows.append({"task": task, "name": subject.name, **measured})
        typer.echo(f"{task}: {subject.name}: {measured.get('failed', 'measured')}", err=True)
    return rows


def interleaved(*tasks: tuple[str, Sequence[Any]]) -> list[tuple[str, Any]]:
    """The first line of each task, then the second: where time runs out, every task has lost the same."""
    longest = max(len(lines) for _, lines in tasks)
    return [(task, lines[place]) for place in range(longest) for task, lines in tasks if place < len(lines)]


def cells(row: Mapping[str, Any], floors: Mapping[str, float]) -> list[str]:
    """One line of the table."""
    if "failed" in row:
        return [row["task"], row["name"], row["failed"], "–", "–", "–", "–"]
    floor, peak = floors.get(row["task"]), row["peak_bytes"]
    return [
        row["task"],
        row["name"],
        f"{1000 * row['median_s']:.1f}",
        f"{row['images_per_s']:.0f}",
        "–" if floor is None else f"{row['median_s'] / floor:.2f}",
        "–" if peak is None else f"{peak / 2**20:.0f}",
        f"{row['warm_up_s']:.0f}",
    ]


def show(rows: Sequence[Mapping[str, Any]], feeding: Sequence[Mapping[str, Any]]) -> None:
    """Print both tables."""
    floors = {row["task"]: row["median_s"] for row in rows if row["name"] == "its bare layers" and "failed" not in row}
    print_table(
        "A step, median milliseconds on the clock",
        ["task", "what", "ms", "images/s", "÷ bare layers", "peak, MiB", "first steps, s"],
        [cells(row, floors) for row in sorted(rows, key=lambda row: str(row["task"]), reverse=True)],
        words=2,
    )
    ours = {row["task"]: row["images_per_s"] for row in rows if row["name"] == "ours ste" and "failed" not in row}
    print_table(
        "JPEG files to tensors on the CPU's threads",
        ["threads", "images/s", *(f"÷ ours, {task}" for task in ours)],
        [
            [str(row["threads"]), f"{row['images_per_s']:.0f}"]
            + [f"{row['images_per_s'] / taken:.2f}" for taken in ours.values()]
            for row in feeding
        ],
    )


def describe_gpu() -> dict[str, Any]:
    """What the figures depend on beside the machine."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
        "triton": version_of("triton"),
        "spikingjelly": version_of("spikingjelly"),
    }


@app.command()
def main(
    device: Annotated[Device, typer.Option(help="cuda writes the result; cpu prints alone.")] = Device.cuda,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    size: Annotated[int, typer.Option(min=32, help="Pixels a side.")] = 224,
    repeats: Annotated[int, typer.Option(min=1, help="Steps that count.")] = 10,
    minutes: Annotated[float, typer.Option(min=0.1, help="What finds no time says so.")] = MINUTES,
    quick: Annotated[bool, typer.Option(help="Tiny, batch 2, one step, nothing compiled: does it run?")] = False,
    out: Out = RESULTS,
) -> None:
    """Measure, print, and write where there is a GPU."""
    if device == Device.cuda and not torch.cuda.is_available():
        raise typer.BadParameter("this machine has no GPU that torch sees; --device cpu --quick shows that it runs")
    deadline = time.monotonic() + 60 * minutes - AT_END
    model, encoders = (QUICK_MODEL, QUICK_ENCODERS) if quick else (MODEL, ENCODERS)
    if quick:
        batch, size, repeats = 2, 32, 1
    tasks = []
    for task in ("training", "inference"):
        work = Work("ours", model, encoders[0], size, batch, task == "training", "bfloat16", str(device))
        tasks.append((task, subjects_of(model, encoders, work, repeats)))
    rows = measure_all(interleaved(*tasks), deadline, apart=not quick)
    cores = os.cpu_count() or 1
    threads = sorted({1, 2, cores} if quick else {1, 2, 4, 8, cores})
    with tempfile.TemporaryDirectory() as folder:
        feeding = measure_feeding(Path(folder), 4 if quick else 256, size, [each for each in threads if each <= cores])
    show(rows, feeding)
    if device == Device.cpu:
        typer.echo("nothing written: these are no figures of a GPU")
        return
    about = {"model": model, "size": size, "batch": batch, "dtype": "bfloat16", "repeats": repeats, **describe_gpu()}
    typer.echo(f"wrote {write_result(out, 'gpu_speed', about | {'rows': rows, 'feeding': feeding})}")


if __name__ == "__main__":
    app()
