"""Energy under every published model that the zoo knows, of a hybrid beside its control, on the same test images.

The images are spread evenly over the validation split, so there are as many of each class, and none is drawn by chance;
both networks are trained weights of the catalog. Where `benchmarks.int8_controls` was run, the control's accuracy in
8-bit integers stands beside its energy. Run it as

    python -m benchmarks.energy_models --data DIR     # the folder with train/ and val/, or with val.npz
    python -m benchmarks.energy_models --kept         # writes the table of the kept figures again
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import zoo
from benchmarks.common.reporting import (
    RESULTS,
    Out,
    describe_command,
    markdown_table,
    print_table,
    write_beside,
    write_result,
)
from benchmarks.common.validation import read_images
from zoo.catalog.files import default_catalog
from zoo.catalog.records import WeightRecord, in_digits
from zoo.errors import InputError
from zoo.profiling import Profile, profile
from zoo.profiling.energy import describe_energy_model, energy_models

DEFAULT_NAMES = ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", "has8_resnet_b32_m2_d4_ste_bpd.cifar10")
"""The bundled pair, and that of the plugin zoo-weights-cifar10, which is left out where it is not installed."""

app = typer.Typer(add_completion=False)


def listed_records(names: Sequence[str]) -> list[WeightRecord]:
    """The weights among these that installed catalogs list."""
    catalog = default_catalog()
    records = {record.name: record for group in catalog.weights.values() for record in group}
    return [records[name] for name in names if name in records]


def row_of(record: WeightRecord, cost: Profile) -> dict[str, Any]:
    """Figures of one network, as they are written."""
    assert cost.activity is not None
    assert cost.control is not None
    return {
        "name": record.name,
        "control": cost.control.name,
        "recipe": record.recipe,
        "seed": record.seed,
        "metrics": dict(record.metrics),
        "images": cost.activity.images,
        "spike_rate": cost.activity.spike_rate,
        "ratios": None if cost.energy_range is None else cost.energy_range.ratios,
        "models": [estimate.to_json() for estimate in cost.estimates],
    }


def kept_rows(out: Path) -> dict[str, Any]:
    """Read what an earlier run wrote, with each energy model described as it is today."""
    file = out / "energy_models.json"
    if not file.is_file():
        raise InputError(f"{file} is missing; run this with --data DIR first")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    described = {name: describe_energy_model(name, model) for name, model in energy_models().items()}
    for row in content["rows"]:
        row["models"] = [model | described.get(model["name"], {}) for model in row["models"]]
    return content


def int8_lines(row: Mapping[str, Any], out: Path) -> list[str]:
    """Cost and accuracy of the control in 8-bit integers; nothing where `benchmarks.int8_controls` was not run."""
    file = out / "int8_controls.json"
    measured = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    energy = next(model for model in row["models"] if model["name"] == "arithmetic-int8")["control_pj"] / 1e6
    return [
        f"The control `{row['control']}` in 8-bit integers (`zoo export --quantize int8`, onnxruntime) gets "
        f"{found['top1']:.2f} % of {found['images']:,} validation images right, "
        f"in float32 {found['float_top1']:.2f} %; "
        f"its arithmetic takes {energy:,.3f} µJ by the model arithmetic-int8."
        for found in measured
        if found["name"] == row["control"]
    ]


def markdown(row: Mapping[str, Any], out: Path) -> str:
    """The table of one network."""
    head = [
        f"## `{row['name']}` and its control `{row['control']}`",
        "",
        f"{row['images']:,} images, {row['spike_rate']:.4f} spikes per neuron and timestep; the weight: recipe "
        f"{row['recipe']}, seed {row['seed']}, one run.",
        "",
    ]
    lines = []
    for model in row["models"]:
        figures = ["–", "–", "does not run"]
        if model["ratio"] is not None:
            energies = (model["network_pj"] / 1e6, model["control_pj"] / 1e6)
            figures = [*(f"{energy:,.3f}" for energy in energies), in_digits(model["ratio"])]
        lines.append([model["name"], *figures, model["source"]])
    table = markdown_table(["model", "network, µJ", "control, µJ", "ratio", "source"], lines, last_is_words=True)
    return "\n".join([*head, table, *(f"\n{line}" for line in int8_lines(row, out))])


def show(row: Mapping[str, Any]) -> None:
    """Print the table of one network."""
    rows = []
    for model in row["models"]:
        energies = [model["network_pj"], model["control_pj"]]
        cells = ["" if energy is None else f"{energy / 1e6:,.3f} µJ" for energy in energies]
        rows.append([model["name"], *cells, "" if model["ratio"] is None else in_digits(model["ratio"])])
    title = f"{row['name']} and {row['control']}, {row['images']:,} images"
    print_table(title, ["energy model", "network", "control", "ratio"], rows)


def measured_rows(data: Path, names: Sequence[str], count: int) -> dict[str, Any]:
    """Profile every listed weight among these on the same images."""
    records = listed_records(names)
    missing = sorted(set(names) - {record.name for record in records})
    pixels, _ = read_images(data, count)
    rows = [
        row_of(record, profile(zoo.create_model(record.name, pretrained=True), images=pixels)) for record in records
    ]
    chosen = f"{count} of the validation images of {data.name}, evenly spread, none drawn by chance"
    return {"images": chosen, "rows": rows, "not_installed": missing}


@app.command()
def main(
    data: Annotated[Path | None, typer.Option(help="Validation images: a .npz, or a folder.")] = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="[WEIGHT]...", help="variant.tag, hybrids.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, spread evenly over the split.")] = 400,
    kept: Annotated[bool, typer.Option("--kept", help="Measure nothing; write the table of the kept figures.")] = False,
    out: Out = RESULTS,
) -> None:
    """Measure, print, write energy_models.json and energy_models.md."""
    torch.set_num_threads(1)
    if (data is None) != kept:
        raise typer.BadParameter("give either --data DIR, to measure, or --kept, to write what was measured")
    missing = sorted(set(names or ()) - {record.name for record in listed_records(names or ())})
    if missing:
        typer.echo(
            f"no installed catalog lists {', '.join(missing)}; `zoo list --pretrained` shows those that are", err=True
        )
        raise typer.Exit(2)
    if data is None:
        content = kept_rows(out)
    else:
        content = {"command": describe_command()} | measured_rows(data, names or DEFAULT_NAMES, count)
    for row in content["rows"]:
        show(row)
    typer.echo(f"wrote {write_result(out, 'energy_models', content)}")
    head = f"# Energy under every model\n\nImages: {content['images']}. Made by `{content['command']}`."
    text = "\n\n".join([head, *(markdown(row, out) for row in content["rows"])])
    write_beside(out / "energy_models.md", f"{text}\n".encode())


if __name__ == "__main__":
    app()
