"""The paper's accuracy tables at any budget: its figures beside ours, and the controls that the paper lacks.

Table 1 is the ablation: both of its networks with every encoder, with and without γ, and both decoders; its four
baselines; beside them `ste`, the published code's arithmetic (a plugin), the same blocks without spikes (`ann_…`) and
without the analog branch (`snn_…`). Table 2 is its eight models on one data set, any that `zoo train` takes; each data
set has files of its own, and accuracy_table2.md joins all that are there.

Every run is recorded as soon as it ends, so the same command goes on where it was interrupted; a run whose loss
explodes is a row with its reason. A run that was broken off keeps its folder, runs/… beside the records: the same
command goes on inside it, and where measuring alone failed it only measures. What the budget was stands in every file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.accuracy.configurations import (
    DATASETS,
    NEURONS,
    Configuration,
    dataset_of,
    further,
    repeat,
    select,
    table1,
    table2,
)
from benchmarks.accuracy.datasets import TABLE2, joined_page, result_name
from benchmarks.accuracy.missing import MissingRuns
from benchmarks.accuracy.picture import picture
from benchmarks.accuracy.runs import (
    PAPER_IMAGE_SIZE,
    Budget,
    Counted,
    Ledger,
    Run,
    count,
)
from benchmarks.accuracy.table import (
    HEADER,
    PAPER_BUDGET,
    cells,
    list_reasons,
    make_differences,
    make_row,
    markdown,
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
from zoo.cpu.allocator import keep_freed_memory
from zoo.data.limit import limit_images
from zoo.errors import UnknownComponentError, ZooError
from zoo.training import DataSplits, load_data, load_recipe

IN_TERMINAL = ("model", "top-1", "paper", "over its control", "gradient norm", "MACs per timestep", "CPU s")
"""The columns that a terminal shows."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Benchmark:
    """All that was asked for.

    Attributes:
        table: 1 or 2.
        data: as it was named.
        dataset: the paper's of that name.
        recipe: as it was named.
        choices: by option: the neurons of the scaled rows, patterns of repeated names, further networks.
        whole: images of both splits before the limits.
        macs_size: pixels a side that MACs are counted at.
        configurations: all rows of the table.
        budget: of every run.
        ledger: of the finished ones.
    """

    table: int
    data: str
    dataset: str | None
    recipe: str
    choices: Mapping[str, Sequence[str]]
    whole: tuple[int, int]
    macs_size: int
    configurations: Sequence[Configuration]
    budget: Budget
    ledger: Ledger

    @property
    def classes(self) -> int:
        """Of the data."""
        return len(self.budget.data.train.classes)

    def find(self, name: str, seed: int) -> Run | None:
        """A finished run of this budget."""
        return self.ledger.run(self.budget.key, name, seed)

    def cost(self, name: str) -> Counted | None:
        """Counted, or recorded; None where a plugin has gone since."""
        try:
            return count(name, self.classes, self.macs_size, self.ledger)
        except UnknownComponentError:
            return None

    def content(self, chosen: Sequence[Configuration], refused: Mapping[str, str]) -> dict[str, Any]:
        """Of the JSON file: what was chosen, and what else is recorded at this budget."""
        rows = [make_row(each, self.find, refused, self.cost) for each in self.configurations]
        names = {each.name for each in chosen}
        rows = [row for row in rows if row["runs"] or row["name"] in names]
        return {
            "table": self.table,
            **self.choices,
            "budget": self.describe(rows),
            "classes": self.classes,
            "macs_image_size": self.macs_size,
            "rows": rows,
            "differences": make_differences(rows, self.find),
        }

    def describe(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The budget, and what it came to."""
        data, recipe = self.budget.data, self.budget.recipe
        runs = [run for row in rows for run in row["runs"]]
        return {
            "data": self.data,
            "paper_dataset": self.dataset,
            "images": len(data.train),
            "of_images": self.whole[0],
            "val_images": len(data.val),
            "of_val_images": self.whole[1],
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "recipe": self.recipe,
            "settings": recipe.model_dump(mode="json", exclude={"seed"}),
            "threads": self.budget.threads,
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
    write_beside(path.with_suffix(".png"), picture(content))
    written = [path, path.with_suffix(".md"), path.with_suffix(".png")]
    if table == 2:
        written.append(out / f"{TABLE2}.md")
        write_beside(written[-1], joined_page(out).encode())
    typer.echo(f"wrote {', '.join(map(str, written))}")


def limit(splits: DataSplits, images: int | None, val_images: int | None) -> DataSplits:
    """The same images whatever a run's seed, of all classes as many."""
    return DataSplits(limit_images(splits.train, images), limit_images(splits.val, val_images), splits.size_reason)


def choose(configurations: Sequence[Configuration], only: Sequence[str]) -> list[Configuration]:
    """Those to train; ends with status 2 where there are none."""
    chosen = select(configurations, only)
    if not chosen:
        names = "\n".join(each.name for each in configurations)
        typer.echo(f"error: no name fits {', '.join(only)}; there are\n{names}", err=True)
        raise typer.Exit(2)
    return chosen


def check_neurons(names: list[str]) -> list[str]:
    """Those of table 1."""
    for name in names:
        if name not in NEURONS:
            raise typer.BadParameter(f"{name!r} is not a neuron of the paper; valid: {', '.join(NEURONS)}")
    return names


def check_dataset(name: str | None) -> str | None:
    """A column of table 2, or None."""
    if name is not None and name not in DATASETS:
        raise typer.BadParameter(f"{name!r} is none of the paper's; valid: {', '.join(DATASETS)}")
    return name


@app.command()
def main(
    table: Annotated[int, typer.Option(min=1, max=2, help="The paper's table 1 (ablation) or 2 (eight models).")] = 1,
    data: Annotated[
        str, typer.Option(help="A folder of images or with train.npz and val.npz, or cifar10, …: as `zoo train`.")
    ] = "cifar10",
    dataset: Annotated[
        str | None,
        typer.Option(
            callback=check_dataset, help=f"The paper's figures: {', '.join(DATASETS)}; by default as DATA is called."
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(min=2, help="Training images, all classes alike; all without.")] = None,
    val_images: Annotated[int | None, typer.Option(min=2, help="Validation images, likewise.")] = None,
    recipe: Annotated[str, typer.Option(help="As `zoo train` takes it.")] = "modern",
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each run; the recipe's without.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Of each step; the recipe's without.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="no|bf16|fp16", help="As `zoo train` takes it; the recipe's without.")
    ] = None,
    neuron: Annotated[
        list[str],
        typer.Option(
            metavar="NEURON", callback=check_neurons, help="Neurons of table 1's scaled rows; may be repeated."
        ),
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
    paper: Annotated[Path, typer.Option(help="The paper's figures, YAML.")] = PAPER,
    state: Annotated[
        Path | None, typer.Option(help="Records of finished runs, which are not made again; OUT/accuracy.jsonl.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Keeps each run's folder; else it lies beside the records until the run is recorded."),
    ] = None,
    out: Out = RESULTS,
) -> None:
    """Train, measure, print, write; the same command goes on after an interruption, with status 128 + signal."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    named = dataset or dataset_of(data)
    choices = {"neurons": neuron, "repeated": repeated, "also": also}
    changes = {"epochs": epochs, "batch_size": batch_size, "precision": precision}
    try:
        figures = read_tables(paper)
        known = table1(figures, named, seeds, control_seeds, neuron) if table == 1 else table2(figures, named, seeds)
        configurations = repeat([*known, *further(also, seeds)], repeated, control_seeds)
        chosen = choose(configurations, only or [])
        settings = load_recipe(recipe, {key: value for key, value in changes.items() if value is not None})
        whole = load_data(data)
        limited = limit(whole, images, val_images)
        ledger = Ledger(state or out / "accuracy.jsonl")
    except ZooError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    sizes = (len(whole.train), len(whole.val))
    budget = Budget(limited, settings, threads)
    benchmark = Benchmark(table, data, named, recipe, choices, sizes, macs_size, configurations, budget, ledger)
    refused, number = MissingRuns(chosen, budget, ledger, macs_size, work).make()
    report(benchmark.content(chosen, refused), out)
    if number:
        typer.echo("interrupted: what is done is recorded, and the same command goes on", err=True)
        raise typer.Exit(128 + number)


if __name__ == "__main__":
    app()
