"""What installed plugins cost: `zoo list` beside 20 distributions with 10 entry points each, and without them.

A third command has the same 20 distributions without entry points: what is left then is what any Python program with an
entry-point scan pays for them. Rounds are interleaved, as in the benchmark of start-up; every figure is of one run. The
processor's time stands beside the time on the clock, as other programs disturb it less; the larger is judged.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.common.timing import interleave, run_python, time_python

DISTRIBUTIONS = 20
POINTS = {"zoo.encoders": 4, "zoo.decoders": 2, "zoo.neurons": 2, "zoo.backbones": 1, "zoo.families": 1}
"""Entry points of each distribution, by group; ten."""

LIST = ("-m", "zoo", "list")
COUNT = ("-c", "from zoo.registry.registry import default_registry as r; print(len(r().components()))")
BARE, EMPTY, FULL = "zoo list", "zoo list, 20 more distributions", "zoo list, 20 more with 200 entry points"
LIMIT = 0.050
"""Seconds that 200 entry points may add."""

app = typer.Typer(add_completion=False)


def _entry_points(number: int) -> Iterator[str]:
    for group, count in POINTS.items():
        yield f"[{group}]"
        yield from (f"b{number}x{i} = zoo_bench_{number}:Thing{i}" for i in range(count))


def install(site: Path, with_points: bool) -> None:
    """Twenty distributions as pip leaves them; their metadata has a README's length. None of their modules exists."""
    for number in range(DISTRIBUTIONS):
        info = site / f"zoo_bench_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        readme = "".join(f"Line {i} of a description, as long as lines of a README are.\n" for i in range(80))
        metadata = f"Metadata-Version: 2.1\nName: zoo-bench-{number}\nVersion: 1.0\nRequires-Dist: has8-zoo\n\n{readme}"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        if with_points:
            (info / "entry_points.txt").write_text("\n".join(_entry_points(number)) + "\n", encoding="utf-8")


def seeing(site: Path) -> dict[str, str]:
    """The environment in which `site` is on the path."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{site}{os.pathsep}{path}" if path else str(site)}


def time_both(variables: Mapping[str, str] | None) -> tuple[float, float]:
    """Seconds of one `zoo list`: on the clock, and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = time_python(LIST, variables)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def summarise(taken: Mapping[str, Sequence[tuple[float, float]]]) -> list[dict[str, Any]]:
    """Of every command the medians on the clock and of the processor, and what they add to the bare one's."""
    bare = [statistics.median(column) for column in zip(*taken[BARE], strict=True)]
    rows = []
    for name, pairs in taken.items():
        clock, processor = (list(column) for column in zip(*pairs, strict=True))
        row: dict[str, Any] = {"command": name, "seconds": clock, "cpu_seconds": processor}
        for kind, seconds, without in (("", clock, bare[0]), ("cpu_", processor, bare[1])):
            median = statistics.median(seconds)
            row |= {f"{kind}median_s": median, f"{kind}added_s": median - without}
            row |= {f"{kind}min_s": min(seconds), f"{kind}max_s": max(seconds)}
        rows.append(row)
    return rows


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table, in milliseconds."""
    figures = [f"{kind}{figure}_s" for kind in ("", "cpu_") for figure in ("median", "min", "max", "added")]
    return [row["command"], *(f"{1000 * row[figure]:.1f}" for figure in figures)]


def measure(repeats: int) -> tuple[list[dict[str, Any]], int]:
    """The rows, and how many components the full one adds."""
    with tempfile.TemporaryDirectory() as folder:
        empty, full = Path(folder, "empty"), Path(folder, "full")
        install(empty, with_points=False)
        install(full, with_points=True)
        added = int(run_python(COUNT, seeing(full))) - int(run_python(COUNT))
        variables = {BARE: None, EMPTY: seeing(empty), FULL: seeing(full)}
        return summarise(interleave(variables, repeats, time_both)), added


@app.command()
def main(
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count; one more warms up.")] = 21,
    out: Out = RESULTS,
) -> None:
    """Measure what 200 entry points add to `zoo list`; exit status 1 where it is 50 ms or more."""
    rows, added = measure(repeats)
    print_table(
        f"zoo list with plugins installed, fresh interpreters, {repeats} interleaved rounds, milliseconds",
        ["command", "median", "min", "max", "added", "CPU median", "min", "max", "added"],
        [cells(row) for row in rows],
    )
    full = next(row for row in rows if row["command"] == FULL)
    clock, processor = full["added_s"], full["cpu_added_s"]
    within = max(clock, processor) < LIMIT
    typer.echo(
        f"{added} entry points add {1000 * clock:.1f} ms, {1000 * processor:.1f} ms of the processor: "
        f"{'within' if within else 'OVER'} the 50 ms wanted"
    )
    verdict = {"entry_points": added, "added_s": clock, "cpu_added_s": processor, "limit_s": LIMIT, "within": within}
    typer.echo(f"wrote {write_result(out, 'plugin_startup', {'repeats': repeats, 'rows': rows, 'verdict': verdict})}")
    raise typer.Exit(0 if within else 1)


if __name__ == "__main__":
    app()
