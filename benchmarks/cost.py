"""The paper's table 3 beside ours: parameters and MACs of all eight models, and what all timesteps cost.

The paper counts analog + spiking / T, which is one timestep; a GPU or CPU computes all T. Ours have 10 classes, the
baselines 1000, as in the paper's text; its 9.79 M for HAS-8-VGG-b16 is the count for 100 classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import zoo
from benchmarks.common.paper import PAPER, UNITS, parse_figure, read_tables
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from zoo.profiling import count_cost

IMAGE_SIZE = 224
PAPER_TOLERANCE, FVCORE_TOLERANCE = 1e-2, 1e-3
"""Of MACs per timestep: from table 3, which prints three digits, and from fvcore's count of the published code."""

app = typer.Typer(add_completion=False)


def full_name(short: str) -> tuple[str, int]:
    """The model behind a row of table 3, and its number of classes."""
    if short.startswith("has8"):
        return f"{short}_fourier_bpd", 10
    return (f"{short}_phase" if short.startswith("sew") else short), 1000


def compare(short: str, tables: Mapping[str, Any], image_size: int = IMAGE_SIZE) -> dict[str, Any]:
    """Count one model and set it beside the paper's row, and beside fvcore's count of the published code."""
    name, classes = full_name(short)
    cost = count_cost(zoo.create_model(name, num_classes=classes), image_size)
    paper = {key: parse_figure(text) for key, text in tables["table3_cost"][short].items()}
    published = tables["measured_on_the_published_code"]["fvcore_per_timestep_gmacs"][short] * 1e9
    return {
        "name": name,
        "classes": classes,
        "timesteps": cost.timesteps,
        "params": cost.params,
        "params_paper": paper["params"],
        "params_difference": cost.params / paper["params"] - 1,
        "macs_per_timestep": cost.macs_per_timestep,
        "macs_paper": paper["macs"],
        "macs_difference": cost.macs_per_timestep / paper["macs"] - 1,
        "macs_published_code": published,
        "macs_published_code_difference": cost.macs_per_timestep / published - 1,
        "macs": cost.macs,
        "macs_over_paper": cost.macs / paper["macs"],
        "unsupported": cost.unsupported,
    }


def judge(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Models whose MACs per timestep are too far from table 3, or from the published code's."""
    return [
        row["name"]
        for row in rows
        if abs(row["macs_difference"]) > PAPER_TOLERANCE
        or abs(row["macs_published_code_difference"]) > FVCORE_TOLERANCE
    ]


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    mega, giga = UNITS["M"], UNITS["G"]
    return [
        row["name"],
        str(row["classes"]),
        f"{row['params_paper'] / mega:.2f} M",
        f"{row['params'] / mega:.3f} M",
        f"{row['params_difference']:+.2%}",
        f"{row['macs_paper'] / giga:.2f} G",
        f"{row['macs_per_timestep'] / giga:.3f} G",
        f"{row['macs_difference']:+.2%}",
        f"{row['macs_published_code'] / giga:.3f} G",
        f"{row['macs_published_code_difference']:+.3%}",
        f"{row['macs'] / giga:.3f} G",
        str(row["timesteps"]),
    ]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print both tables in one."""
    header = ["params paper", "ours", "off", "MACs paper", "ours", "off", "code", "off", "all T", "T"]
    title = "Table 3: parameters and MACs of one timestep, the paper's and ours; and the MACs of all T"
    print_table(title, ["model", "classes", *header], [cells(row) for row in rows])


@app.command()
def main(
    paper: Annotated[Path, typer.Option(help="The paper's figures, YAML.")] = PAPER,
    image_size: Annotated[int, typer.Option(min=32, help="Pixels a side; the paper's figures hold for 224.")] = 224,
    out: Out = RESULTS,
) -> None:
    """Count, print, write; exit status 1 where MACs per timestep miss the paper's by 1 %, or its code's by 0.1 %."""
    torch.set_num_threads(1)
    tables = read_tables(paper)
    if not tables:
        raise typer.Exit(2)
    rows = [compare(short, tables, image_size) for short in tables["table3_cost"]]
    show(rows)
    missed = judge(rows)
    verdict = {"paper_tolerance": PAPER_TOLERANCE, "code_tolerance": FVCORE_TOLERANCE, "missed": missed}
    typer.echo(f"wrote {write_result(out, 'cost', {'image_size': image_size, 'rows': rows, 'verdict': verdict})}")
    typer.echo(f"MISSED: {', '.join(missed)}" if missed else f"all {len(rows)} models within both tolerances")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    app()
