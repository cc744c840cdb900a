"""The paper's accuracy tables at any budget: its figures beside ours, and the controls that the paper lacks.

Table 1 is the ablation: both of its networks with every encoder, with and without γ, and both decoders; its four
baselines; beside them `ste`, the published code's arithmetic (a plugin), the same blocks without spikes (`ann_…`) and
without the analog branch (`snn_…`). Table 2 is its eight models on one data set, any that `zoo train` takes; each data
set has files of its own, and accuracy_table2.md joins all that are there.

Every run is recorded as soon as it ends, so the same command goes on after an interruption. A run that diverges is a
row with its reason. A run that was broken off keeps its folder, runs/… beside the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from benchmarks.accuracy.configurations import (
    NEURONS,
    Configuration,
    dataset_of,
    further,
    repeat,
    select,
    table1,
    table2,
)
from benchmarks.accuracy.picture import picture
from benchmarks.accuracy.runs import PAPER_IMAGE_SIZE, Budget, Counted, Ledger, Run, count, make_runs
from benchmarks.accuracy.table import (
    HEADER,
    PAPER_BUDGET,
    TABLE2,
    cells,
    joined_page,
    list_reasons,
    make_differences,
    make_row,
    markdown,
    result_name,
    short_budget,
    show_spread,
)
from benchmarks.common.paper import PAPER, read_tables
from benchmarks.common.reporting import (
    RESULTS,
    Out,
    describe_command,
    describe_machine,
    print_table,
    write_beside,
    write_result,
)
from zoo.cpu.memory import keep_freed_memory
from zoo.data import DataSplits
from zoo.data.splits import limit_images
from zoo.errors import UnknownComponentError, ZooError
from zoo.training import load_data, load_recipe

IN_TERMINAL = ("model", "top-1", "paper", "over its control", "gradient norm", "MACs per timestep", "CPU s")
"""Columns that a terminal shows."""

app = typer.Typer(add_completion=False)


def make_content(
    configurations: Sequence[Configuration],
    chosen: Sequence[Configuration],
    refused: Mapping[str, str],
    budget: Budget,
    ledger: Ledger,
    macs_size: int,
) -> dict[str, Any]:
    """Collect the rows that were chosen or are recorded at this budget, and differences between them."""
    classes = len(budget.data.train.classes)

    def find(name: str, seed: int) -> Run | None:
        return ledger.run(budget.key, name, seed)

    def cost(name: str) -> Counted | None:
        try:
            return count(name, classes, macs_size, ledger)
        except UnknownComponentError:  # its plugin has gone since
            return None

    names = {each.name for each in chosen}
    rows = [make_row(each, find, refused, cost) for each in configurations]
    rows = [row for row in rows if row["runs"] or row["name"] in names]
    differences = make_differences(rows, find)
    return {"classes": classes, "macs_image_size": macs_size, "rows": rows, "differences": differences}


def describe_budget(budget: Budget, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """State the budget, and what it came to."""
    data, recipe = budget.data, budget.recipe
    runs = [run for row in rows for run in row["runs"]]
    return {
        "images": len(data.train),
        "val_images": len(data.val),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "settings": recipe.model_dump(mode="json", exclude={"seed"}),
        "threads": budget.threads,
        "runs": len(runs),
        **{key: round(sum(run[key] for run in runs), 1) for key in ("seconds", "cpu_seconds")},
    }


def report(content: Mapping[str, Any], out: Path) -> None:
    """Print the table; write JSON, Markdown and picture."""
    table, rows, budget = content["table"], content["rows"], content["budget"]
    narrow = [[line[HEADER.index(column)] for column in IN_TERMINAL] for line in map(cells, rows)]
    print_table(f"Table {table}: {short_budget(budget)}; the paper: {PAPER_BUDGET}", list(IN_TERMINAL), narrow)
    for row in content["differences"]:
        typer.echo(f"{row['name']} less {row['less']}: {show_spread(row, '+')} points")
    for reason in list_reasons(rows):
        typer.echo(reason)
    path = write_result(out, result_name(table, budget["paper_dataset"], budget["data"]), dict(content))
    page = markdown(content, describe_machine()["cpu"], describe_command())
    write_beside(path.with_suffix(".md"), page.encode())
    write_beside(path.with_suffix(".svg"), picture(content))
    if table == 2:
        write_beside(out / f"{TABLE2}.md", joined_page(out).encode())
    typer.echo(f"wrote {path}, and beside it .md and .svg")


@app.command()
def main(
    table: Annotated[int, typer.Option(min=1, max=2, help="The paper's table 1 (ablation) or 2 (eight models).")] = 1,
    data: Annotated[
        str, typer.Option(help="A folder of images or with train.npz and val.npz, or cifar10, …: as `zoo train`.")
    ] = "cifar10",
    dataset: Annotated[
        Literal["cifar10", "cifar100", "caltech101", "caltech256", "imagenet"] | None,
        typer.Option(help="The paper's figures; by default as DATA is called."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=2, help="Training images, all classes alike; all without it.")
    ] = None,
    val_images: Annotated[int | None, typer.Option(min=2, help="Validation images, likewise.")] = None,
    recipe: Annotated[str, typer.Option(help="As `zoo train` takes it.")] = "modern",
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each run; the recipe's without.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Of each step; the recipe's without.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="no|bf16", help="As `zoo train` takes it; the recipe's without.")
    ] = None,
    neuron: Annotated[
        list[str], typer.Option(metavar="if|lif", help="Neurons of table 1's scaled rows; may be repeated.")
    ] = list(NEURONS),  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network: 3407, 3408, ….")] = 1,
    control_seeds: Annotated[
        int, typer.Option(min=1, help="Of has8_…_ste_bpd, ann_… and snn_… in table 1, where that is more.")
    ] = 3,
    repeated: Annotated[
        list[str],
        typer.Option("--repeat", metavar="PATTERN", help="Names that get --control-seeds runs too; may be repeated."),
    ] = [],  # noqa: B006
    also: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="A network that no table has, such as one of yours; may be repeated."),
    ] = [],  # noqa: B006
    only: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Train these names alone, as in 'has8_resnet_*_bpd'.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    macs_size: Annotated[int, typer.Option(min=32, help="Pixels a side for MACs; the paper's are 224.")] = (
        PAPER_IMAGE_SIZE
    ),
    state: Annotated[
        Path | None, typer.Option(help="Records of finished runs, which are not made again; OUT/accuracy.jsonl.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Keeps each run's folder; else it lies beside the records until the run is recorded."),
    ] = None,
    out: Out = RESULTS,
) -> None:
    """Train, measure, print, write; the same command goes on after an interruption."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    named = dataset or dataset_of(data)
    changes = {"epochs": epochs, "batch_size": batch_size, "precision": precision}
    try:
        figures = read_tables(PAPER)
        known = table1(figures, named, seeds, control_seeds, neuron) if table == 1 else table2(figures, named, seeds)
        configurations = repeat([*known, *further(also, seeds)], repeated, control_seeds)
        chosen = select(configurations, only or [])
        settings = load_recipe(recipe, {key: value for key, value in changes.items() if value is not None})
        whole = load_data(data)
        ledger = Ledger(state or out / "accuracy.jsonl")
    except ZooError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    # The same images for every seed, of all classes alike.
    limited = DataSplits(limit_images(whole.train, images), limit_images(whole.val, val_images))
    budget = Budget(limited, settings, threads)
    refused: dict[str, str] = {}
    for each, seed, outcome in make_runs(chosen, budget, ledger, macs_size, work):
        if isinstance(outcome, str):
            refused[each.name] = outcome
        said = outcome if isinstance(outcome, str) else outcome.error or f"top-1 {outcome.top1:.2f} %"
        typer.echo(f"{each.name}, seed {seed}: {said}", err=True)
    content = make_content(configurations, chosen, refused, budget, ledger, macs_size)
    asked: dict[str, Any] = {"data": data, "paper_dataset": named, "recipe": recipe}
    asked |= {"of_images": len(whole.train), "of_val_images": len(whole.val)}
    about = {"table": table, "neurons": neuron, "repeated": repeated, "also": also}
    report(about | {"budget": asked | describe_budget(budget, content["rows"])} | content, out)


if __name__ == "__main__":
    app()
