"""The table of the accuracy benchmark: a row a network, the paper's figure beside ours, what spikes add and cost."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.configurations import BASELINES, DATASETS, FURTHER, Configuration
from benchmarks.accuracy.runs import Counted, Run
from benchmarks.common.reporting import as_code, markdown_table

HEADER = (
    "model",
    "top-1",
    "paper",
    "over its control",
    "seeds",
    "gradient norm",
    "parameters",
    "MACs per timestep",
    "MACs total",
    "T",
    "CPU s",
)
DIFFERENCE_HEADER = ("network", "less", "top-1 points", "seeds", "parameters", "MACs per timestep", "MACs total")

PAPER_BUDGET = "100 epochs of all images"
TABLE2 = "accuracy_table2"
TITLES = dict(zip(DATASETS, ("CIFAR-10", "CIFAR-100", "Caltech-101", "Caltech-256", "ImageNet"), strict=True))

Find = Callable[[str, int], Run | None]
Cost = Callable[[str], Counted | None]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, least, most and standard deviation (of the sample; None of a single value)."""
    return {
        "mean": statistics.mean(values),
        "least": min(values),
        "most": max(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def top1_by_seed(name: str, seeds: Sequence[int], find: Find) -> dict[int, float]:
    """Of the runs that ended with a figure."""
    runs = [(seed, find(name, seed)) for seed in seeds]
    return {seed: run.top1 for seed, run in runs if run is not None and run.top1 is not None}


def difference(name: str, other: str, seeds: Sequence[int], find: Find) -> dict[str, Any] | None:
    """Top-1 of one network less another's, seed by seed; None without a seed that both have."""
    ours, theirs = top1_by_seed(name, seeds, find), top1_by_seed(other, seeds, find)
    both = [seed for seed in ours if seed in theirs]
    return {"less": other, "seeds": both, **spread([ours[seed] - theirs[seed] for seed in both])} if both else None


def make_row(each: Configuration, find: Find, refused: Mapping[str, str], cost: Cost) -> dict[str, Any]:
    """One network: its runs, its cost, its control."""
    runs = [run for seed in each.seeds if (run := find(each.name, seed)) is not None]
    top1 = top1_by_seed(each.name, each.seeds, find)
    norms = [run.grad_norm for run in runs if run.grad_norm is not None]
    counted = cost(each.name) if runs else None
    return {
        "name": each.name,
        "group": each.group,
        "seeds": list(each.seeds),
        "top1": spread(list(top1.values())) if top1 else None,
        "paper": each.paper,
        "paper_macs_per_timestep": each.paper_macs,
        "over_control": difference(each.name, each.control, each.seeds, find) if each.control else None,
        "control": each.control,
        "grad_norm": statistics.median(norms) if norms else None,
        "cost": counted.model_dump(exclude={"kind", "name"}) if counted else None,
        "cpu_seconds": statistics.mean(run.cpu_seconds for run in runs) if runs else None,
        "stopped": {str(run.seed): run.error for run in runs if run.error is not None},
        "refused": refused.get(each.name),
        "runs": [run.model_dump(exclude={"kind", "budget", "name"}) for run in runs],
    }


def make_differences(rows: Sequence[Mapping[str, Any]], find: Find) -> list[dict[str, Any]]:
    """Hybrids less their control, and less their spiking branch alone, where those have as many seeds as they."""
    by_name = {row["name"]: row for row in rows}
    found = []
    for row in rows:
        name, seeds = row["name"], row["seeds"]
        if not name.startswith("has8_") or row["cost"] is None:
            continue
        for other in (row["control"], name.replace("has8_", "snn_", 1)):
            if other in by_name and by_name[other]["seeds"] == seeds and by_name[other]["cost"] is not None:
                points = difference(name, other, seeds, find)
                found += [{"name": name, **points, "factors": factors(row, by_name[other])}] if points else []
    return found


def factors(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """Parameters and MACs as multiples of the other's."""
    return {key: row["cost"][key] / other["cost"][key] for key in ("params", "macs_per_timestep", "macs")}


# Text -----------------------------------------------------------------------------------------------------------------


def show_spread(found: Mapping[str, Any] | None, sign: str = "") -> str:
    """`23.40`, or with several seeds `23.40 (22.00 to 24.60)`; – without."""
    if found is None:
        return "–"
    mean = f"{found['mean']:{sign}.2f}"
    if len(found["values"]) == 1:
        return mean
    return f"{mean} ({found['least']:{sign}.2f} to {found['most']:{sign}.2f})"


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table, without Markdown."""
    top1 = show_spread(row["top1"])
    if row["stopped"]:
        stopped = "stopped" if len(row["seeds"]) == 1 else f"{len(row['stopped'])} of {len(row['seeds'])} stopped"
        top1 = stopped if row["top1"] is None else f"{top1}, {stopped}"
    elif row["top1"] is None:
        top1 = "not run"
    cost = row["cost"]
    counts = ["–"] * 4
    if cost is not None:
        giga = [f"{cost[key] / 1e9:.3f} G" for key in ("macs_per_timestep", "macs")]
        counts = [f"{cost['params'] / 1e6:.2f} M", *giga, str(cost["timesteps"])]
    return [
        row["name"],
        top1,
        "–" if row["paper"] is None else f"{row['paper']:.2f}",
        show_spread(row["over_control"], "+"),
        str(len(row["runs"])),
        "–" if row["grad_norm"] is None else f"{row['grad_norm']:.3g}",
        *counts,
        "–" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.0f}",
    ]


def difference_cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the second table."""
    points, times = show_spread(row, "+"), [f"× {value:.2f}" for value in row["factors"].values()]
    return [row["name"], row["less"], points, str(len(row["seeds"])), *times]


def short_budget(budget: Mapping[str, Any]) -> str:
    """A few words, for titles."""
    images, measured = budget["images"], budget["val_images"]
    return f"{tell_epochs(budget)} of {images:,} images, recipe {budget['recipe']}, measured on {measured:,}"


def tell_budget(budget: Mapping[str, Any]) -> str:
    """Images, epochs and settings, as a sentence."""
    precision = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}[budget["settings"]["precision"]]
    return (
        f"{budget['images']:,} of {budget['of_images']:,} training images, all classes alike; {tell_epochs(budget)}, "
        f"batches of {budget['batch_size']}, recipe `{budget['recipe']}` in {precision}; measured once, at the end, on "
        f"{budget['val_images']:,} of {budget['of_val_images']:,} validation images."
    )


def statement(content: Mapping[str, Any], cpu: str) -> list[str]:
    """The notes that stand before the first figure."""
    budget, size = content["budget"], content["macs_image_size"]
    threads = "1 thread" if budget["threads"] == 1 else f"{budget['threads']} threads"
    error = 50 / math.sqrt(budget["val_images"])
    return [
        f"**Budget**: {tell_budget(budget)} {budget['runs']} runs took {budget['cpu_seconds']:,.0f} s of the processor "
        f"({cpu}, {threads}). Data: `{budget['data']}`.",
        f"**The paper's** figures are of {PAPER_BUDGET}: compare them with each other, and ours with each other. "
        f"One of ours has a standard error of up to {error:.1f} points from its {budget['val_images']:,} images alone. "
        "Of several seeds the mean is given, and the least and the most.",
        f"Parameters and MACs are fvcore's, at {size}×{size} pixels and {content['classes']} classes; those of a "
        "timestep are analog + spiking / T. A control is the network of the same blocks without spikes; points over it "
        "are differences of the same seeds. Gradient norm: the mean of the last epoch, before clipping. CPU s: "
        "seconds of the processor, of one run.",
    ]


def tell_epochs(budget: Mapping[str, Any]) -> str:
    """`1 epoch`, `5 epochs`."""
    return "1 epoch" if budget["epochs"] == 1 else f"{budget['epochs']} epochs"


def markdown(content: Mapping[str, Any], cpu: str, command: str) -> str:
    """The whole page, from what the JSON file holds."""
    rows = content["rows"]
    parts = [f"# Accuracy: the paper's table {content['table']}", *statement(content, cpu), f"Made by `{command}`."]
    for group in dict.fromkeys(row["group"] for row in rows):
        title = group.capitalize() if group in (BASELINES, FURTHER) else f"`{group}`"
        lines = [cells(row) for row in rows if row["group"] == group]
        parts += [f"## {title}", markdown_table(HEADER, as_code(lines))]
    if content["differences"]:
        lines = [difference_cells(row) for row in content["differences"]]
        parts += ["## What the spikes add, and what they cost", markdown_table(DIFFERENCE_HEADER, as_code(lines, 2), 2)]
    reasons = list_reasons(rows)
    if reasons:
        parts += ["## Without a figure", "\n".join(reasons)]
    return "\n\n".join(parts) + "\n"


def list_reasons(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a run has none, one line each."""
    stopped = [f"- `{row['name']}`, seed {seed}: {why}" for row in rows for seed, why in row["stopped"].items()]
    return stopped + [f"- `{row['name']}`: {row['refused']}" for row in rows if row["refused"]]


# Table 2 over its data sets: a file for each, and one page with a column for each -------------------------------------


def result_name(table: int, dataset: str | None, data: str) -> str:
    """Name the result's files, without a suffix: table 2 has its own for each data set.

    Args:
        table: 1 or 2.
        dataset: the paper's; None if the data is not one of them.
        data: as it was named.

    Example:
        >>> result_name(1, "cifar10", "cifar10-jpeg"), result_name(2, None, "/data/my birds")
        ('accuracy', 'accuracy_table2_my-birds')
    """
    if table == 1:
        return "accuracy"
    last = re.split(r"[/\\]", data.rstrip("/\\"))[-1]
    return f"{TABLE2}_{dataset or re.sub(r'[^A-Za-z0-9]+', '-', last).strip('-').lower()}"


def joined_page(folder: Path) -> str:
    """Markdown: a row for each network, a column for each data set of which `folder` holds the result."""
    found = {
        path.stem.removeprefix(f"{TABLE2}_"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"{TABLE2}_*.json"))
    }
    results = [(TITLES[name], found.pop(name)) for name in DATASETS if name in found] + list(found.items())
    names = dict.fromkeys(row["name"] for _, content in results for row in content["rows"])
    columns = [{row["name"]: row for row in content["rows"]} for _, content in results]
    lines = [[name, *(_cell(column.get(name)) for column in columns)] for name in names]
    parts = [
        "# Accuracy: the paper's table 2",
        f"Top-1 in percent; in brackets the paper's, of {PAPER_BUDGET}. Budgets differ by far: compare ours with each "
        "other, and the paper's with each other. A dash is a network that was not run.",
        *(f"**{title}**: {tell_budget(each['budget'])} Made by `{each['command']}`." for title, each in results),
        markdown_table(["model", *(title for title, _ in results)], as_code(lines)),
    ]
    return "\n\n".join(parts) + "\n"


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or (row["top1"] is None and row["paper"] is None):
        return "–"
    ours = "–" if row["top1"] is None else show_spread(row["top1"])
    return ours if row["paper"] is None else f"{ours} [{row['paper']:.2f}]"
