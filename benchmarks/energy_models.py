"""Energy under every published model that the zoo knows, of a hybrid beside its control, on the same test images.

The images are spread evenly over the validation split, so there are as many of each class, and none is drawn by chance;
both networks are trained weights of the catalog. Run it as

    python -m benchmarks.energy_models --data DIR     # the folder with train/ and val/, or with val.npz
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import typer

import zoo
from benchmarks.common.reporting import RESULTS, Out, describe_command, print_table, write_beside, write_result
from benchmarks.common.validation import Data, read_images
from zoo.catalog.catalog import default_catalog
from zoo.catalog.schema import WeightRecord
from zoo.profiling import Profile, in_digits, profile

DEFAULT_NAMES = ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", "has8_resnet_b32_m2_d4_ste_bpd.cifar10")
"""The bundled pair, and that of the plugin zoo-weights-cifar10, which is left out where it is not installed."""

app = typer.Typer(add_completion=False)


def listed_records(names: Sequence[str]) -> list[WeightRecord]:
    """The weights among these that installed catalogs list."""
    catalog = default_catalog()
    records = {record.name: record for group in catalog.weights.values() for record in group}
    return [records[name] for name in names if name in records]


def row_of(record: WeightRecord, cost: Profile) -> dict[str, Any]:
    """What is written of one network."""
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


def markdown(row: Mapping[str, Any]) -> str:
    """The table of one network."""
    lines = [
        f"## `{row['name']}` and its control `{row['control']}`",
        "",
        f"{row['images']:,} images, {row['spike_rate']:.4f} spikes per neuron and timestep; the weight: recipe "
        f"{row['recipe']}, seed {row['seed']}, one run.",
        "",
        "| model | network, µJ | control, µJ | ratio | source |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for model in row["models"]:
        figures = ["–", "–", "does not run"]
        if model["ratio"] is not None:
            energies = (model["network_pj"] / 1e6, model["control_pj"] / 1e6)
            figures = [*(f"{energy:,.3f}" for energy in energies), in_digits(model["ratio"])]
        lines.append(f"| {' | '.join([model['name'], *figures, model['source']])} |")
    return "\n".join(lines)


def show(row: Mapping[str, Any]) -> None:
    """Print the table of one network."""
    rows = []
    for model in row["models"]:
        energies = [model["network_pj"], model["control_pj"]]
        cells = ["" if energy is None else f"{energy / 1e6:,.3f} µJ" for energy in energies]
        rows.append([model["name"], *cells, "" if model["ratio"] is None else in_digits(model["ratio"])])
    title = f"{row['name']} and {row['control']}, {row['images']:,} images"
    print_table(title, ["model of energy", "network", "control", "ratio"], rows)


@app.command()
def main(
    data: Data,
    names: Annotated[list[str] | None, typer.Argument(metavar="[WEIGHT]...", help="variant.tag, hybrids.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, spread evenly over the split.")] = 800,
    out: Out = RESULTS,
) -> None:
    """Measure, print, write energy_models.json and energy_models.md."""
    torch.set_num_threads(1)
    asked = names or list(DEFAULT_NAMES)
    records = listed_records(asked)
    missing = sorted(set(asked) - {record.name for record in records})
    if names and missing:
        typer.echo(
            f"no installed catalog lists {', '.join(missing)}; `zoo list --pretrained` shows those that are", err=True
        )
        raise typer.Exit(2)
    pixels, _ = read_images(data, count)
    rows = []
    for record in records:
        rows.append(row_of(record, profile(zoo.create_model(record.name, pretrained=True), images=pixels)))
        show(rows[-1])
    chosen = f"{count} of the validation images of {data.name}, evenly spread, none drawn by chance"
    content = {"images": chosen, "rows": rows, "not_installed": missing}
    typer.echo(f"wrote {write_result(out, 'energy_models', content)}")
    head = f"# Energy under every model\n\nImages: {chosen}. Made by `{describe_command()}`."
    text = "\n\n".join([head, *(markdown(row) for row in rows)])
    write_beside(out / "energy_models.md", f"{text}\n".encode())


if __name__ == "__main__":
    app()
