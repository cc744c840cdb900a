"""The table of speed.json in Markdown, for the README: one line a model, size and step, both encoders side by side."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.reporting import RESULTS, markdown_table
from benchmarks.speed.__main__ import ENCODERS

HEADER = (
    "step",
    "ours, ms",
    "over the floor",
    "fused",
    "plain over the floor",
    "plain ÷ ours",
    "SEW-ResNet18 ÷ ours",
    "memory ÷ plain's",
)

app = typer.Typer(add_completion=False)


def of_both(rows: Sequence[Mapping[str, Any]], key: str, form: str = ".2f") -> str:
    """One figure of both encoders, `1.10 / 1.12`; a dash where there is none."""
    return " / ".join("–" if row.get(key) is None else format(row[key], form) for row in rows)


def line_of(rows: Sequence[Mapping[str, Any]], clock: str) -> tuple[str, ...]:
    """One line of the table, of the same step with each encoder."""
    first = rows[0]
    step = f"{first['model']} {first['size']}×{first['batch']} {first['task']} {first['dtype']}"
    best = [row.get("fused", row["ours"]) for row in rows]
    shown = [
        {
            **row,
            "ms": 1000 * ours[clock],
            "gain": row["plain"][clock] / ours[clock],
            "sew": row["sew_resnet18"][clock] / ours[clock],
        }
        for row, ours in zip(rows, best, strict=True)
    ]
    forms = (("ms", ".0f"), ("over_floor", ".2f"), ("fused_over_floor", ".2f"), ("ceiling", ".2f"), ("gain", ".2f"))
    figures = [of_both(shown, key, form) for key, form in (*forms, ("sew", ".1f"), ("memory_over_plain", ".2f"))]
    return step, *("–" if set(figure) <= set("– /") else figure for figure in figures)


def markdown(result: Mapping[str, Any]) -> str:
    """The whole table."""
    lines = []
    clock = "cpu_median_s" if result["device"] == "cpu" else "median_s"
    key = ("model", "size", "task", "dtype")
    rows = sorted(result["rows"], key=lambda row: (*(row[each] for each in key[:2]), row["task"], row["dtype"]))
    for _, grouped in itertools.groupby(rows, key=lambda row: tuple(row[each] for each in key)):
        both = sorted(grouped, key=lambda row: ENCODERS.index(row["encoder"]))
        lines.append(line_of(both, clock))
    return markdown_table(HEADER, lines)


@app.command()
def main(result: Annotated[Path, typer.Argument(help="What benchmarks.speed wrote.")] = RESULTS / "speed.json") -> None:
    """Print the table in Markdown."""
    typer.echo(markdown(json.loads(result.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    app()
