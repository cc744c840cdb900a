"""Speed and memory of HAS-8 beside the floor, the published arithmetic, and two peers.

- floor: the same convolutions, norms and linear layers alone, same shapes, same order, forward and backward;
- plain: the published arithmetic, written from the equations (benchmarks/common/plain_has8.py);
- fused: ours after `fuse()`, for inference; in bfloat16 it rounds weights to that too;
- ceiling: plain ÷ floor, the most that anything outside those layers can give; reached: the share of it that ours has,
  as it is and fused; inference is judged by the better one;
- tuned: ours in bfloat16, channels_last and, for inference, fused, against plain in float32;
- sew_resnet18: spikingjelly's at T = 8; resnet18: torchvision's.

One process, which keeps its freed memory (zoo.kernels.memory); the subjects of one model, size and task are
interleaved, every round in an order that moves on by one, and only ratios within one run mean anything. On the CPU the
ratios are those of the processor's time, as other programs disturb it less; the time on the clock stands beside it.
Peak memory is that of one step in a process of its own (benchmarks/speed/steps.py).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.reporting import (
    RESULTS,
    Out,
    describe_command,
    describe_machine,
    print_table,
    write_beside,
    write_result,
)
from benchmarks.common.timing import interleave, spread, time_step
from benchmarks.speed.scaling import measure_scaling, picture, scaling_cells
from benchmarks.speed.steps import Work, build_step, parse_size, peak_memory
from zoo.kernels.memory import keep_freed_memory

MODELS, ENCODERS = ("resnet_b32_m2_d4", "vgg_b16_m2_d4"), ("ste", "fourier")
QUICK_MODELS, QUICK_BATCH = ("resnet_b2_m1_d1", "vgg_b1_m1_d1"), 2
BATCHES = {32: 64, 224: 4}
ENCODED = ("ours", "ours fused", "ours tuned", "plain")
OTHERS = ("floor", "plain", "sew_resnet18", "resnet18")
TRAINING_LIMIT = {"resnet": 1.25, "vgg": 1.4}
INFERENCE_LIMIT, REACHED, MEMORY_LIMIT = 1.5, 0.8, 0.5
"""Of ours ÷ floor in float32, of the ceiling, and of ours ÷ plain in training at 224 pixels."""
TUNED = {"training": 2.5, "inference": 4.0}
"""Plain float32 ÷ tuned, wanted of resnet_b32 at 224 pixels."""


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
Repeats = Annotated[int, typer.Option(min=1, help="Rounds that count; one more warms up.")]
Quick = Annotated[bool, typer.Option(help="Tiny models, batch 2, one round: does it run?")]

app = typer.Typer(add_completion=False)


def works(model: str, size: int, batch: int, task: str, dtypes: Sequence[str], device: str) -> dict[str, Work]:
    """Everything that is timed together, by name. Floor and peers know no encoder."""
    found: dict[str, Work] = {}

    def add(subject: str, encoder: str, dtype: str) -> None:
        work = Work(subject, model, encoder, size, batch, task == "training", dtype, device)
        found[" ".join(part for part in (subject, encoder if subject in ENCODED else "", dtype) if part)] = work

    for dtype in dtypes:
        for encoder in ENCODERS:
            add("ours", encoder, dtype)
            add("plain", encoder, dtype)
            if task == "inference":
                add("ours fused", encoder, dtype)
        for subject in ("floor", "sew_resnet18", "resnet18"):
            add(subject, ENCODERS[0], dtype)
    for encoder in ENCODERS if "bfloat16" in dtypes else ():
        add("ours tuned", encoder, "bfloat16")
    return found


def seconds_key(device: str) -> str:
    """Which time the ratios are of."""
    return "cpu_median_s" if device == "cpu" else "median_s"


def row_of(found: Mapping[str, Mapping[str, Any]], encoder: str, dtype: str, key: str) -> dict[str, Any]:
    """One row of the table: ours beside the others of the same encoder and type."""

    def name(subject: str) -> str:
        return f"{subject} {encoder} {dtype}" if subject in ENCODED else f"{subject} {dtype}"

    ours = found[name("ours")]
    others = {subject: found[name(subject)] for subject in OTHERS}
    row: dict[str, Any] = {"encoder": encoder, "dtype": dtype, "ours": ours, **others}
    row["over_floor"] = ours[key] / others["floor"][key]
    row["ceiling"] = others["plain"][key] / others["floor"][key]
    row["speedup"] = others["plain"][key] / ours[key]
    row["reached"] = row["speedup"] / row["ceiling"]
    own, plain = (part.get("peak_bytes") for part in (ours, others["plain"]))
    row["memory_over_plain"] = None if own is None or plain is None else own / plain
    if fused := found.get(name("ours fused")):
        row |= {"fused": fused, "fused_over_floor": fused[key] / others["floor"][key]}
        row["fused_reached"] = 1 / row["fused_over_floor"]
    tuned, plain = found.get(f"ours tuned {encoder} bfloat16"), found.get(f"plain {encoder} float32")
    if tuned and plain and dtype == "bfloat16":
        row |= {"tuned": tuned, "tuned_speedup": plain[key] / tuned[key]}
    return row


def measure_group(
    chosen: Mapping[str, Work], dtypes: Sequence[str], repeats: int, memory: bool, device: str
) -> Iterator[dict[str, Any]]:
    """The rows of one model, size and task."""
    taken = interleave({name: build_step(work) for name, work in chosen.items()}, repeats, time_step)
    found = {name: spread(each) for name, each in taken.items()}
    if memory:
        for name, work in chosen.items():
            found[name]["peak_bytes"] = peak_memory(work, torch.get_num_threads())
    for encoder, dtype in itertools.product(ENCODERS, dtypes):
        yield row_of(found, encoder, dtype, seconds_key(device))


def misses(row: Mapping[str, Any]) -> list[str]:
    """What a row misses of what is wanted."""
    backbone = parse_size(row["model"])[0]
    training = row["task"] == "training"
    limit = TRAINING_LIMIT[backbone] if training else INFERENCE_LIMIT
    missed = []
    if row["dtype"] == "float32" and row["over_floor"] > limit and row.get("fused_over_floor", limit) >= 1:
        missed.append(f"{row['over_floor']:.2f} of the floor, over {limit}")
    reached = max(row["reached"], row.get("fused_reached", 0))
    if reached < REACHED:
        missed.append(f"{reached:.1%} of the ceiling, under {REACHED:.0%}")
    if training and row["size"] == 224 and (row["memory_over_plain"] or 0) > MEMORY_LIMIT:
        missed.append(f"{row['memory_over_plain']:.2f} of plain's memory, over {MEMORY_LIMIT}")
    wanted = TUNED[row["task"]]
    if backbone == "resnet" and row["size"] == 224 and row.get("tuned_speedup", wanted) < wanted:
        missed.append(f"tuned {row['tuned_speedup']:.2f} times as fast as plain float32, under {wanted}")
    return missed


def put_into(before: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of an earlier result, with those that were measured again in their places."""
    found = {label(row): row for row in rows}
    kept = [{"command": before["command"], **row} for row in before["rows"]]
    return [found.pop(label(row), row) for row in kept] + list(found.values())


def label(row: Mapping[str, Any]) -> str:
    """What a row is of."""
    return f"{row['model']} {row['encoder']} {row['size']}×{row['batch']} {row['task']} {row['dtype']}"


def cells(row: Mapping[str, Any], key: str) -> list[str]:
    """One line of the table."""
    ratios = ("over_floor", "fused_over_floor", "speedup", "ceiling", "reached", "fused_reached", "tuned_speedup")
    return [
        label(row),
        *(f"{1000 * row[subject][key]:.0f}" for subject in ("ours", *OTHERS)),
        f"{1000 * row['ours']['min_s']:.0f}–{1000 * row['ours']['max_s']:.0f}",
        *("–" if row.get(ratio) is None else f"{row[ratio]:.2f}" for ratio in (*ratios, "memory_over_plain")),
    ]


def memory_cells(row: Mapping[str, Any]) -> list[str]:
    """Peak memory of each, in MiB."""
    subjects = [row["ours"], *(row[subject] for subject in OTHERS)] + ([row["tuned"]] if "tuned" in row else [])
    peaks = [each.get("peak_bytes") for each in subjects]
    return [label(row), *("–" if peak is None else f"{peak / 2**20:.0f}" for peak in peaks)]


def show(rows: Sequence[Mapping[str, Any]], device: str, memory: bool) -> None:
    """Print time and memory."""
    kind = "of the processor" if device == "cpu" else "on the clock"
    header = ["ours", "floor", "plain", "sew18", "resnet18", "clock", "÷floor", "fused", "gain", "ceiling"]
    print_table(
        f"A step, median milliseconds {kind}; gain: plain ÷ ours; memory: ours ÷ plain",
        ["step", *header, "reached", "fused", "tuned", "memory"],
        [cells(row, seconds_key(device)) for row in rows],
    )
    if memory:
        print_table(
            "Peak memory of a step, MiB", ["step", "ours", *OTHERS, "tuned"], [memory_cells(row) for row in rows]
        )


@app.command()
def main(
    model: Models,
    size: Sizes,
    task: Tasks,
    dtype: Numbers,
    repeats: Repeats = 5,
    threads: Annotated[int, typer.Option(min=1, help="torch's threads.")] = 1,
    memory: Annotated[bool, typer.Option(help="Measure peak memory too.")] = True,
    scaling: Annotated[bool, typer.Option(help="How time grows: a table and a picture.")] = False,
    update: Annotated[bool, typer.Option(help="Measure these steps alone; the result there keeps its others.")] = False,
    quick: Quick = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cuda" if torch.cuda.is_available() else "cpu",
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 where a row misses what is wanted of it."""
    torch.set_num_threads(threads)
    kept = keep_freed_memory()  # as `zoo train` does, for every subject alike
    if quick:
        model, size, repeats = list(QUICK_MODELS), size[:1], 1
    machine = describe_machine()  # its load is that before the work
    if update and not (out / "speed.json").is_file():
        raise typer.BadParameter(f"--update needs {out / 'speed.json'}; measure everything once, without it")
    before = json.loads((out / "speed.json").read_text(encoding="utf-8")) if update else None
    rows: list[dict[str, Any]] = []
    for name, pixels, step in itertools.product(model, size, task):
        batch = QUICK_BATCH if quick else BATCHES.get(pixels, 4)
        chosen = works(name, pixels, batch, step, dtype, device)
        about = {"model": name, "size": pixels, "batch": batch, "task": str(step), "command": describe_command()}
        rows += [about | row for row in measure_group(chosen, dtype, repeats, memory, device)]
        typer.echo(f"measured {name} at {pixels} pixels, {step}", err=True)
    show(rows, device, memory)
    grown = measure_scaling(repeats, device, quick) if scaling else []
    if grown:
        header = ["what grows (else resnet_b32, batch 8, 64 px)", "task", "value: median milliseconds", "exponent"]
        print_table("How a step's time grows, float32", header, scaling_cells(grown), words=3)
    if before is not None:
        rows = put_into(before, rows)
    missed = {label(row): reasons for row in rows if (reasons := misses(row))}
    content = {
        "threads": threads,
        "device": device,
        "freed_memory_kept": kept,
        "repeats": repeats,
        "load_before": machine["load_1min"],
    }
    path = write_result(
        out,
        "speed",
        content | {"rows": rows, "scaling": grown or (before or {}).get("scaling", []), "verdict": {"missed": missed}},
    )
    if grown:
        write_beside(path.with_suffix(".png"), picture(grown))
    for name, reasons in missed.items():
        typer.echo(f"MISSED: {name}: {'; '.join(reasons)}")
    typer.echo(f"wrote {path}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    app()
