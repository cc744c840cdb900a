"""Speed and memory of HAS-8 beside its floor, the published arithmetic and onnxruntime.

- floor: the same convolutions, norms and linear layers alone, same shapes, same order, forward and backward, in torch's
  default layout or in channels_last, whichever is faster;
- floor fused, for inference: without norms, weights rounded once;
- plain: the published arithmetic with `fourier`, by plugins/zoo-has8-reference;
- published: the authors' own code, with `--published CLONE`, a clone of github.com/luutn2002/has-8; in float32 at
  32 pixels;
- fused: ours after `fuse()`, for inference; in bfloat16 it rounds weights to that too;
- compiled: ours by torch.compile, with `--compiled` (minutes a network);
- with `--peers`, other libraries and our resets (benchmarks/speed/peers.py).

A spiking-only model, such as `sew_resnet_b32_m2_d4_direct`, has a floor and no plain one.

Subjects of one model, size, task, type and number of threads take turns, step by step, in a process of their own.
Seconds are the median of the rounds, a ratio is the median of the rounds' own: what slows the machine for a while slows
both sides of it. At one thread it is the processor's time, at more the time on the clock. Then one image, and 64,
through the smallest weight's network, fused, and compiled as one that no longer changes, beside onnxruntime. Peak
memory is that of one step (benchmarks/speed/steps.py). Under 16 channels torch's own strided 1×1 convolution writes
beside its memory in channels_last (zoo/cpu/conv.py): a floor narrower than b16 cannot be measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.reporting import RESULTS, Out, describe_machine, markdown_table, print_table, write_result
from benchmarks.speed.rows import ENCODERS, SMALL, apart, encoders_of, measure_row, measure_small
from zoo.cpu.library import describe
from zoo.cpu.memory import keep_freed_memory

MODELS = ("resnet_b32_m2_d4", "vgg_b16_m2_d4", "sew_resnet_b32_m2_d4_direct", "sew_vgg_b16_m2_d4_direct")
QUICK_MODELS, QUICK_BATCH = ("resnet_b2_m1_d1",), 2
BATCHES = {32: 64, 224: 4}
LIMITS = {"fused_over_floor": 1.15, "training": 1.15, "inference": 1.25, "spikes": 1.25}
"""Of fused ÷ its floor, and of ours ÷ floor by task; of a spiking-only network in both tasks."""


class Task(StrEnum):
    training = "training"
    inference = "inference"


class Number(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


Models = Annotated[list[str], typer.Option(default_factory=lambda: list(MODELS), help="Sizes to measure.")]
Sizes = Annotated[list[int], typer.Option(default_factory=lambda: list(BATCHES), help="32 has batch 64, others 4.")]
Tasks = Annotated[list[Task], typer.Option(default_factory=lambda: list(Task), help="Which steps.")]
Numbers = Annotated[list[Number], typer.Option(default_factory=lambda: list(Number), help="bfloat16: autocast.")]
Threads = Annotated[list[int], typer.Option(default_factory=lambda: [1, 2], help="torch's threads, side by side.")]

app = typer.Typer(add_completion=False)


def label(row: Mapping[str, Any]) -> str:
    """Name a row."""
    task = "training" if row["training"] else "inference"
    return f"{row['model']} {row['size']}×{row['batch']} {task} {row['dtype']}"


def limits_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The most that a row's ratios may be."""
    task = "training" if row["training"] else "inference"
    unfused = "spikes" if row["model"].startswith("sew_") else task
    return {"over_floor": LIMITS[unfused], "fused_over_floor": LIMITS["fused_over_floor"]}


def misses(row: Mapping[str, Any]) -> list[str]:
    """The ratios of a row that are over their limit."""
    return [
        f"{label(row)} {encoder}, {count} threads: {figure} {own[figure]:.2f}, limit {limit:.2f}"
        for count, ratios in row["ratios"].items()
        for encoder, own in ratios.items()
        for figure, limit in limits_of(row).items()
        if own.get(figure, 0) > limit
    ]


HEADER = ("step", "ours, ms", "÷ floor", "fused ÷ its floor", "plain ÷ ours", "published ÷ ours", "memory ÷ plain's")


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table: both encoders, then as many threads as were measured."""

    def every(figure: str, form: str = ".2f") -> str:
        counts = (
            " / ".join(format(own[figure], form) if figure in own else "–" for own in ratios.values())
            for ratios in row["ratios"].values()
        )
        return "; ".join(counts)

    own = (
        " / ".join(f"{1000 * found[f'ours {encoder}']:.0f}" for encoder in encoders_of(row["model"]))
        for found in row["seconds"].values()
    )
    memory = row.get("memory_over_plain")
    ratios = (every(figure) for figure in ("over_floor", "fused_over_floor", "speedup", "published"))
    return [label(row), "; ".join(own), *ratios, "–" if memory is None else f"{memory:.2f}"]


def print_milliseconds(what: str, taken: Mapping[str, float]) -> None:
    """One line of a few figures."""
    typer.echo(f"{what}, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in taken.items()))


@app.command()
def main(
    model: Models,
    size: Sizes,
    task: Tasks,
    dtype: Numbers,
    threads: Threads,
    published: Annotated[
        Path | None,
        typer.Option(metavar="CLONE", help="A clone of github.com/luutn2002/has-8: time the authors' code too."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count, three of long steps; one more warms up.")] = 9,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    compiled: Annotated[bool, typer.Option(help="Measure torch.compile too.")] = False,
    small: Annotated[bool, typer.Option(help="Measure one image and 64, compiled too.")] = True,
    peers: Annotated[bool, typer.Option(help="Measure spikingjelly's and snntorch's code too.")] = True,
    quick: Annotated[bool, typer.Option(help="A tiny model, batch 2, one round: does it run?")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 if a row misses what is wanted of it."""
    kept = keep_freed_memory()  # as `zoo train` does, for every subject alike
    if quick:
        model, size, dtype, repeats = list(QUICK_MODELS), size[:1], dtype[:1], 1
    clone = "" if published is None else str(published.resolve())
    processor = f"{describe_machine()['cpu']}, {torch.backends.cpu.get_cpu_capability()}"
    typer.echo(f"{processor}; {describe()}", err=True)
    setting: dict[str, Any] = {"kernels": describe(), "device": device, "freed_memory_kept": kept}
    setting |= {"processor": processor, "repeats": repeats}
    rows: list[dict[str, Any]] = []
    for name, pixels, step, number in itertools.product(model, size, task, dtype):
        about: dict[str, Any] = {"model": name, "size": pixels, "training": step is Task.training}
        about |= {"batch": QUICK_BATCH if quick else BATCHES.get(pixels, 4)}
        about |= {"dtype": str(number), "device": device, "clone": clone}
        rows.append(apart(measure_row, about, threads, repeats, compiled, memory))
        typer.echo(f"measured {label(rows[-1])}", err=True)
        write_result(out, "speed", setting | {"finished": False, "rows": rows})  # an hour's rows outlive Ctrl-C
    lines = [cells(row) for row in rows]
    about_all = f"Medians of up to {repeats} rounds; {' / '.join(ENCODERS)}; threads {'; '.join(map(str, threads))}"
    print_table(f"{processor}. {about_all}", list(HEADER), lines)
    found = apart(measure_small, repeats) if small and device == "cpu" else {}
    beside: dict[str, Any] = {}
    if peers and device == "cpu":
        from benchmarks.speed.peers import measure_peers  # snntorch imports torch's compiler, so it comes last

        beside = apart(measure_peers, repeats, threads)
    for images, taken in found.items():
        print_milliseconds(f"{images} × {SMALL}", taken)
    for what, counts in beside.items():
        for count, taken in counts.items():
            print_milliseconds(f"{what}, {count} threads", taken)
    missed = [reason for row in rows for reason in misses(row)]
    content = setting | {"finished": True, "rows": rows, "small": found, "peers": beside, "missed": missed}
    path = write_result(out, "speed", content | {"table": markdown_table(HEADER, lines)})
    for reason in missed:
        typer.echo(f"MISSED: {reason}")
    typer.echo(f"wrote {path}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    app()
