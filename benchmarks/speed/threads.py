"""A step at one thread and at several, beside its floor at as many, on the clock, in one table.

The floor is that of benchmarks/speed/steps.py: the same convolutions, norms and linear layers alone. What threads cost
is how much further from the floor a step is at several than at one; wanted is at most 0.05 of the floor, in every row.
Ours and the floor at every number of threads are interleaved in one process. On the clock, so the machine must be
quiet. Inference is that of the fused network.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import typer

from benchmarks.common.reporting import RESULTS, Out, markdown_table, print_table, write_result
from benchmarks.common.timing import interleave, spread, time_step
from benchmarks.speed.__main__ import (
    BATCHES,
    ENCODERS,
    QUICK_BATCH,
    QUICK_MODELS,
    Models,
    Numbers,
    Quick,
    Repeats,
    Sizes,
    Tasks,
)
from benchmarks.speed.steps import Step, Work, build_step
from zoo.kernels.memory import keep_freed_memory

MORE = 0.05
"""How much further from the floor, in floors, several threads may be than one."""

COUNTS = (1, 2)

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class AtThreads:
    """A step, and torch's threads for it."""

    step: Step
    threads: int

    def take(self) -> tuple[float, float]:
        """Seconds on the clock and of the processor."""
        torch.set_num_threads(self.threads)
        return time_step(self.step)


def subjects(model: str, size: int, batch: int, task: str, dtype: str) -> dict[str, Step]:
    """The floor, and ours with each encoder; inference fused."""
    ours = "ours" if task == "training" else "ours fused"
    pairs = [("floor", ENCODERS[0]), *((ours, encoder) for encoder in ENCODERS)]
    works = (Work(subject, model, encoder, size, batch, task == "training", dtype) for subject, encoder in pairs)
    return {work.subject if work.subject == "floor" else work.encoder: build_step(work) for work in works}


def measure(steps: Mapping[str, Step], counts: Sequence[int], repeats: int) -> dict[int, dict[str, Any]]:
    """By number of threads, the times of each subject; all of them in turn, round by round."""
    chosen = {
        f"{name} {threads}": AtThreads(step, threads)
        for threads, (name, step) in itertools.product(counts, steps.items())
    }
    taken = interleave(chosen, repeats, AtThreads.take)
    return {threads: {name: spread(taken[f"{name} {threads}"]) for name in steps} for threads in counts}


def row_of(times: Mapping[int, Mapping[str, Any]], encoder: str) -> dict[str, Any]:
    """Of one encoder: ours and the floor at each number of threads, and what several cost more than one, in floors."""
    by_threads = {
        str(threads): {
            "ours": of[encoder],
            "floor": of["floor"],
            "over_floor": of[encoder]["median_s"] / of["floor"]["median_s"],
        }
        for threads, of in times.items()
    }
    first, *several = (each["over_floor"] for each in by_threads.values())
    more = max(several, default=first) - first
    return {"encoder": encoder, "threads": by_threads, "more": more, "reached": more <= MORE}


def label(row: Mapping[str, Any]) -> str:
    """What a row is of."""
    return f"{row['model']} {row['size']}×{row['batch']} {row['task']} {row['dtype']}"


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table that is printed: times, ratios, what several threads cost more, whether that is reached."""
    times = [f"{1000 * each['ours']['median_s']:.0f}" for each in row["threads"].values()]
    ratios = [f"{each['over_floor']:.2f}" for each in row["threads"].values()]
    return [*times, *ratios, f"{row['more']:+.2f}", "yes" if row["reached"] else "no"]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for docs/benchmarks.md: a line a step, both encoders in it."""
    counts = list(rows[0]["threads"])
    named = [f"{threads} thread{'s' * (threads != '1')}" for threads in counts]
    header = ["step", *(f"ours, ms, {name}" for name in named), *(f"over the floor, {name}" for name in named)]
    lines = []
    for name, grouped in itertools.groupby(rows, key=label):
        figures = [cells(row) for row in grouped]
        lines.append([name, *(" / ".join(both) for both in zip(*figures, strict=True))])
    return markdown_table([*header, "more", "at most 0.05 more"], lines)


@app.command()
def main(
    model: Models,
    size: Sizes,
    task: Tasks,
    dtype: Numbers,
    threads: Annotated[list[int], typer.Option(default_factory=lambda: list(COUNTS), help="Numbers of threads.")],
    repeats: Repeats = 5,
    quick: Quick = False,
    out: Out = RESULTS,
) -> None:
    """Measure, print, write; exit status 1 where a row misses what is wanted of it."""
    kept = keep_freed_memory()  # as `zoo train` does
    if quick:
        model, size, repeats = list(QUICK_MODELS), size[:1], 1
    rows: list[dict[str, Any]] = []
    for name, pixels, step, number in itertools.product(model, size, task, dtype):
        batch = QUICK_BATCH if quick else BATCHES.get(pixels, 4)
        times = measure(subjects(name, pixels, batch, step, number), threads, repeats)
        about = {"model": name, "size": pixels, "batch": batch, "task": str(step), "dtype": str(number)}
        rows += [about | row_of(times, encoder) for encoder in ENCODERS]
        typer.echo(f"measured {label(rows[-1])}", err=True)
    columns = [f"ms, {count}" for count in threads] + [f"÷floor, {count}" for count in threads]
    title = "A step on the clock, by torch's threads; ÷floor: of its bare layers at as many threads"
    print_table(
        title,
        ["step", "encoder", *columns, "more", "reached"],
        [[label(row), row["encoder"], *cells(row)] for row in rows],
        words=2,
    )
    path = write_result(out, "speed_threads", {"freed_memory_kept": kept, "repeats": repeats, "rows": rows})
    typer.echo(markdown(rows))
    typer.echo(f"wrote {path}")
    raise typer.Exit(0 if all(row["reached"] for row in rows) else 1)


if __name__ == "__main__":
    app()
