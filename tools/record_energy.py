"""Energy ranges of a catalog's weights: `python -m tools.record_energy registry.yaml --data DATA`.

Every weight of the file that has a control is profiled on the same images, beside its control and its twin, and its
`energy_range` is written into the file; all other lines stay as they are. Images are spread evenly over the validation
split.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from tools.put_block import put_block
from zoo.catalog.controls import control_name
from zoo.catalog.files import read_file
from zoo.catalog.records import EnergyRange, WeightRecord
from zoo.data import ImageSplit, load_split
from zoo.data.images import Transform
from zoo.errors import InputError
from zoo.files import replace_bytes
from zoo.models.factory import create_model
from zoo.profiling import profile
from zoo.registry.components import parse_name
from zoo.registry.installing import import_plugin

COUNT = 50


def measure_range(record: WeightRecord, data: ImageSplit, count: int = COUNT) -> EnergyRange | None:
    """Microjoules by energy model, of a listed weight, its control and its twin; None for one without a control.

    Args:
        record: the weight, of an installed catalog.
        data: the validation split.
        count: images, spread evenly over it.

    Raises:
        InputError: the split has fewer images.
    """
    if count > len(data):
        raise InputError(f"{data.origin} has {len(data):,} images, not {count:,}; choose --count {len(data)} or less")
    if control_name(parse_name(record.variant)) is None:
        return None
    pixels, _ = data.read(torch.arange(count) * len(data) // count)
    images = Transform(record.preprocessing).scale(pixels)
    bounds = profile(create_model(record.name, pretrained=True), images=images).energy_range
    assert bounds is not None  # it has a control
    models = {name: (_rounded(own), _rounded(control)) for name, (own, control) in bounds.models.items()}
    twin = {name: _rounded(energy) for name, energy in bounds.twin.items()}
    additions = bounds.additions_per_mac and _rounded(bounds.additions_per_mac)
    text = f"{count:,} validation images of {record.dataset}, evenly spread, by `python -m tools.record_energy`"
    measured = {"models": models, "twin": twin, "additions_per_mac": additions, "images": count, "data": text}
    return bounds.model_copy(update=measured)


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")


def put_range(text: str, record: WeightRecord, bounds: EnergyRange) -> str:
    """A registry.yaml with this range in that record, in place of the one that it had; raises as `put_block`."""
    lines = [f"  images: {bounds.images}", f"  data: {bounds.data}"]
    facts = {
        "steps": bounds.steps,
        "control_steps": bounds.control_steps,
        "additions_per_mac": bounds.additions_per_mac,
    }
    lines += [f"  {name}: {value:g}" for name, value in facts.items() if value is not None]
    lines += [f"  skips_zeros: [{', '.join(bounds.skips_zeros)}]"] if bounds.skips_zeros else []
    lines += ["  models:  # microjoules: network, control"]
    lines += [f"    {name}: [{own:.6g}, {control:.6g}]" for name, (own, control) in bounds.models.items()]
    lines += ["  twin:  # microjoules"] if bounds.twin else []
    lines += [f"    {name}: {energy:.6g}" for name, energy in bounds.twin.items()]
    lines += ["  does_not_run:"] if bounds.does_not_run else []
    lines += [f"    {name}: {json.dumps(why, ensure_ascii=False)}" for name, why in bounds.does_not_run.items()]
    return put_block(text, record, "energy_range", lines)


def main(
    catalog: Annotated[Path, typer.Argument(help="The registry.yaml; what it lists must be installed.")],
    data: Annotated[Path, typer.Option(help="Images: their validation split.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[WEIGHT]...", help="variant.tag.  (default: all)")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images, spread evenly over the split.")] = COUNT,
) -> None:
    """Measure and write the energy range of every weight that has a control."""
    import_plugin("zoo-energy", "zoo_energy", "a range over all energy models")
    torch.set_num_threads(1)
    records = {record.name: record for record in read_file(catalog).weights}
    unknown = sorted(set(names or ()) - set(records))
    if unknown:
        typer.echo(f"{catalog} does not list {', '.join(unknown)}; it lists {', '.join(records)}", err=True)
        raise typer.Exit(2)
    split = load_split(data, "val")
    for name in names or list(records):
        bounds = measure_range(records[name], split, count)
        if bounds is None:
            typer.echo(f"{name}: has no control, for it has no spikes")
            continue
        text = put_range(catalog.read_text(encoding="utf-8"), records[name], bounds)
        replace_bytes(catalog, text.encode())
        typer.echo(f"{name}: {bounds.in_words} times its control")


if __name__ == "__main__":
    typer.run(main)
