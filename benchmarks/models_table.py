"""The table of docs/reference/models.md: size, cost and accuracy, counted from the models themselves.

Every hybrid has the network without its spiking branch beside it. Models are built one at a time, on the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import zoo
from benchmarks.common.paper import PAPER, paper_top1, read_tables
from benchmarks.common.reporting import RESULTS, ROOT, Out, as_code, markdown_table, write_beside, write_result
from benchmarks.runs import read_program
from zoo.catalog.files import default_catalog, read_catalog
from zoo.errors import ZooError
from zoo.names import Spec
from zoo.profiling import count_cost

START, END = b"<!-- models:start -->", b"<!-- models:end -->"
DEFAULT_CLASSES = 10
DEFAULT_NAMES = (
    "has8_vgg_b16_m2_d4_fourier_bpd",
    "has8_vgg_b16_m2_d4_ste_bpd",
    "ann_vgg_b16_m2_d4",
    "has8_vgg_b24_m2_d4_fourier_bpd",
    "ann_vgg_b24_m2_d4",
    "has8_resnet_b32_m2_d4_fourier_bpd",
    "has8_resnet_b32_m2_d4_ste_bpd",
    "ann_resnet_b32_m2_d4",
    "has8_resnet_b64_m2_d4_fourier_bpd",
    "ann_resnet_b64_m2_d4",
    "has8_resnet_b8_m2_d4_ste_bpd",
    "ann_resnet_b8_m2_d4",
    "has8_resnetsmall_b16_m2_d4_ste_bpd",
    "has8_resnetsmall_b16_m2_d4_ste_bpd_plif",
    "ann_resnetsmall_b16_m2_d4",
    "ann_resnetsmall_b32_m2_d4",
    "sew_resnet18_phase@1000",
    "sew_resnet50_phase@1000",
    "ann_resnet18@1000",
    "ann_resnet50@1000",
)
HEADER = (
    "network",
    "parameters, M",
    "GMACs, all T",
    "our recipe starts from",
    "top-1, our recipe",
    "top-1, the paper's training",
)

app = typer.Typer(add_completion=False)


def split_classes(text: str) -> tuple[str, int]:
    """`NAME@CLASSES` → (name, classes); 10 classes where none are given."""
    name, mark, classes = text.partition("@")
    if mark and not (classes.isascii() and classes.isdigit()):
        raise typer.BadParameter(f"{text!r}: behind '@' stands the number of classes, as in ann_resnet18@1000")
    return name, int(classes) if mark else DEFAULT_CLASSES


def is_cifar10(dataset: str) -> bool:
    """True if a weight's data set is CIFAR-10, however it is spelt."""
    return re.match(r"cifar10(?!\d)", re.sub(r"[\s_-]", "", dataset.lower())) is not None


def catalog_top1(spec: Spec, files: Sequence[Path] | None = None) -> float | None:
    """Top-1 of the variant's first weight that was measured on CIFAR-10.

    Args:
        spec: the variant.
        files: catalogs beside the installed ones; those of the plugins in this source tree by default, so that the
            table does not depend on what is installed.
    """
    beside = sorted(ROOT.glob("plugins/*/*/registry.yaml")) if files is None else files
    for catalog in (default_catalog(), *map(read_catalog, beside)):
        for record in catalog.weights_of(spec):
            if is_cifar10(record.dataset) and "top1" in record.metrics:
                return record.metrics["top1"]
    return None


def measure(name: str, classes: int, image_size: int, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Build one model, count it, and look its accuracy up."""
    model = zoo.create_model(name, num_classes=classes)
    cost = vars(count_cost(model, image_size))
    top1 = {"top1_cifar10": catalog_top1(model.spec), "paper_top1_cifar10": paper_top1(model.spec, tables)}
    return {"name": name, "classes": classes, **cost, **top1}


def starts_from(variant: str) -> str:
    """What the training of the variant's checkpoint started from, by benchmarks/runs.yaml."""
    runs = read_program()
    run = next((run for run in runs.values() if (run.weight or "").startswith(f"{variant}.")), None)
    while run is not None and run.control is None:
        run = runs.get(run.source or next(iter(run.averaged), ""))
    return "scratch" if run is None else "its control"


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    tops = ("–" if top1 is None else f"{top1:.2f}" for top1 in (row["top1_cifar10"], row["paper_top1_cifar10"]))
    size = f"{row['params'] / 1e6:.2f}", f"{row['macs'] / 1e9:.3f}"
    return [row["name"], *size, starts_from(row["name"]), *tops]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of networks that the paper has too, without a line feed at its end."""
    told = [row for row in rows if row["paper_top1_cifar10"] is not None]
    return markdown_table(HEADER, as_code(map(cells, told)))


def replace_between(text: bytes, table: str, markers: tuple[bytes, bytes] = (START, END)) -> bytes:
    """`text` with `table` between its two markers, every other byte as it was.

    Raises:
        ValueError: a marker is missing or stands twice, or the end comes first.
    """
    for marker in markers:
        if text.count(marker) != 1:
            raise ValueError(f"wants {marker.decode()} exactly once, has it {text.count(marker)} times")
    first, last = markers
    start, end = text.index(first) + len(first), text.index(last)
    if end < start:
        raise ValueError(f"has {last.decode()} before {first.decode()}")
    return text[:start] + b"\n" + table.encode() + b"\n" + text[end:]


def update_page(path: Path, table: str) -> None:
    """Put the table into the file; ends with status 2, the file untouched, where that cannot be done."""
    try:
        write_beside(path, replace_between(path.read_bytes(), table))
    except (OSError, ValueError) as error:
        typer.echo(f"{path} was not changed: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"wrote the table into {path}")


@app.command()
def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[@CLASSES]]...", help="Models; without, all of docs/reference/models.md."),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Put the table between this file's models markers.")] = None,
    image_size: Annotated[int, typer.Option(min=1, help="Pixels a side that MACs are counted at.")] = 224,
    paper: Annotated[Path, typer.Option(help="The paper's figures, YAML.")] = PAPER,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; no figure depends on them.")] = 1,
    out: Out = RESULTS,
) -> None:
    """Count the models and print their table as Markdown."""
    torch.set_num_threads(threads)
    tables = read_tables(paper)
    chosen = [split_classes(text) for text in names or DEFAULT_NAMES]
    try:
        rows = [measure(name, classes, image_size, tables) for name, classes in chosen]
    except ZooError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    table = markdown(rows)
    typer.echo(table)
    typer.echo(f"wrote {write_result(out, 'models_table', {'image_size': image_size, 'rows': rows})}", err=True)
    if page is not None:
        update_page(page, table)


if __name__ == "__main__":
    app()
