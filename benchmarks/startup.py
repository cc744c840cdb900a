"""Start-up time side by side: `import zoo` and `zoo list` beside `import timm`, each in a fresh interpreter.

Rounds are interleaved: every round runs each command once, in an order that moves on by one, so that a slow moment
of the machine meets all of them. Only ratios within one run mean anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from benchmarks.common.reporting import RESULTS, Out, print_table, version_of, write_result
from benchmarks.common.timing import interleave, run_python, time_python

COMMANDS: dict[str, tuple[str, ...]] = {
    'python -c "pass"': ("-c", "pass"),
    'python -c "import zoo"': ("-c", "import zoo"),
    "zoo list": ("-m", "zoo", "list"),
    'python -c "import timm"': ("-c", "import timm"),
    'python -c "import torch"': ("-c", "import torch"),
}
SUBJECT, PEER = "zoo list", 'python -c "import timm"'
TARGET = 1 / 5
TORCH_PROBE = "import sys, zoo; print(*sorted({'torch', 'timm', 'spikingjelly'} & sys.modules.keys()))"

app = typer.Typer(add_completion=False)


def summarise(seconds: Mapping[str, Sequence[float]], peer: str = PEER) -> list[dict[str, Any]]:
    """One row a command: median, least, most, and the ratio to the peer (of medians; its range is round by round)."""
    rows = []
    for name, taken in seconds.items():
        rounds = [mine / other for mine, other in zip(taken, seconds[peer], strict=True)]
        rows.append(
            {
                "command": name,
                "median_s": statistics.median(taken),
                "min_s": min(taken),
                "max_s": max(taken),
                "ratio": statistics.median(taken) / statistics.median(seconds[peer]),
                "ratio_min": min(rounds),
                "ratio_max": max(rounds),
                "seconds": list(taken),
            }
        )
    return rows


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    seconds = [f"{row[key]:.3f}" for key in ("median_s", "min_s", "max_s", "ratio")]
    return [row["command"], *seconds, f"{row['ratio_min']:.3f}–{row['ratio_max']:.3f}"]


def show(rows: Sequence[Mapping[str, Any]], repeats: int) -> None:
    """Print the table."""
    print_table(
        f"Start-up, fresh interpreters, {repeats} interleaved rounds",
        ["command", "median s", "min", "max", "÷ import timm", "round by round"],
        [cells(row) for row in rows],
    )


@app.command()
def main(
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count; one more warms up.")] = 7,
    out: Out = RESULTS,
) -> None:
    """Measure start-up; exit status 1 where `zoo list` misses a fifth of `import timm`, or `import zoo` loads torch."""
    loaded = run_python(("-c", TORCH_PROBE)).split()
    rows = summarise(interleave(COMMANDS, repeats, time_python))
    show(rows, repeats)
    ratio = next(row["ratio"] for row in rows if row["command"] == SUBJECT)
    fast, light = ratio <= TARGET, not loaded
    typer.echo(f"zoo list takes {ratio:.3f} of import timm: {'within' if fast else 'OVER'} the {TARGET:.3f} wanted")
    typer.echo(f"import zoo loads {'no torch' if light else 'what it should not: ' + ', '.join(loaded)}")
    path = write_result(
        out,
        "startup",
        {
            "timm": version_of("timm"),
            "repeats": repeats,
            "rows": rows,
            "verdict": {"ratio": ratio, "target": TARGET, "within": fast, "import_zoo_loads": loaded},
        },
    )
    typer.echo(f"wrote {path}")
    raise typer.Exit(0 if fast and light else 1)


if __name__ == "__main__":
    app()
