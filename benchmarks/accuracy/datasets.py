"""Table 2 over its data sets: a file for each, and one page with a column for each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.configurations import DATASETS
from benchmarks.accuracy.table import PAPER_BUDGET, show_spread, tell_budget
from benchmarks.common.reporting import as_code, markdown_table

TABLE2 = "accuracy_table2"
TITLES = dict(zip(DATASETS, ("CIFAR-10", "CIFAR-100", "Caltech-101", "Caltech-256", "ImageNet"), strict=True))


def result_name(table: int, dataset: str | None, data: str) -> str:
    """Name of the result's files, without a suffix: table 2 has its own for each data set.

    Args:
        table: 1 or 2.
        dataset: the paper's; None where the data is not one of them.
        data: as it was named.

    Example:
        >>> result_name(1, "cifar10", "cifar10-jpeg"), result_name(2, None, "/data/my birds")
        ('accuracy', 'accuracy_table2_my-birds')
    """
    if table == 1:
        return "accuracy"
    last = re.split(r"[/\\]", data.rstrip("/\\"))[-1]
    return f"{TABLE2}_{dataset or re.sub(r'[^A-Za-z0-9]+', '-', last).strip('-').lower()}"


def read_results(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """What is there of table 2: (title of the column, content), the paper's data sets first and in its order."""
    found = {
        path.stem.removeprefix(f"{TABLE2}_"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"{TABLE2}_*.json"))
    }
    known = [(TITLES[name], found.pop(name)) for name in DATASETS if name in found]
    return known + list(found.items())


def cell(row: Mapping[str, Any] | None) -> str:
    """Ours, and the paper's in brackets."""
    if row is None or (row["top1"] is None and row["paper"] is None):
        return "–"
    ours = "–" if row["top1"] is None else show_spread(row["top1"])
    return ours if row["paper"] is None else f"{ours} [{row['paper']:.2f}]"


def joined_page(folder: Path) -> str:
    """Markdown: a row for each network, a column for each data set of which `folder` holds the result."""
    results = read_results(folder)
    names = list(dict.fromkeys(row["name"] for _, content in results for row in content["rows"]))
    columns = [{row["name"]: row for row in content["rows"]} for _, content in results]
    lines = [[name, *(cell(column.get(name)) for column in columns)] for name in names]
    return "\n\n".join([
        "# Accuracy: the paper's table 2",
        f"Top-1 in percent; in brackets the paper's, of {PAPER_BUDGET}. Budgets differ by far: compare ours with each "
        "other, and the paper's with each other. A dash is a network that was not run.",
        *_budgets(results),
        markdown_table(["model", *(title for title, _ in results)], as_code(lines)),
    ]) + "\n"  # fmt: skip


def _budgets(results: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    return [
        f"**{title}**: {tell_budget(content['budget'])} Made by `{content['command']}`." for title, content in results
    ]
