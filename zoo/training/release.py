"""The catalog record of a finished run: `python -m zoo.training.release RUN --source package:… --data val.npz …`.

Prints YAML for the `weights:` list of a registry.yaml. Every figure is computed here, none is typed in.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from zoo.catalog import providers_of
from zoo.composition import build_model, parse_name
from zoo.contracts.modules import ImageClassifier
from zoo.errors import InputError
from zoo.hub.folder import measure
from zoo.profiling import profile
from zoo.records import Activity, WeightRecord
from zoo.training.datasets import ImageSplit, load_split
from zoo.training.loop import evaluate, load_weights


def record_run(run: Path, tag: str, source: str, data: ImageSplit, facts: dict[str, str]) -> WeightRecord:
    """The record of `run`, the folder that `python -m zoo.training` wrote, measured again on `data`.

    Raises:
        InputError: the run is not finished, or its classes are not those of the data.
    """
    weights, summary_file = run / "model.safetensors", run / "summary.json"
    if not (weights.is_file() and summary_file.is_file()):
        raise InputError(f"{run} is no finished run; it lacks model.safetensors or summary.json")
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    spec = parse_name(summary["name"])
    model = build_model(spec, len(data.classes))
    load_weights(model, weights)
    size = data.size[0]
    content = weights.read_bytes()
    return WeightRecord.model_validate(
        {
            "variant": spec.text,
            "tag": tag,
            "source": source,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            **facts,
            "labels": list(data.classes),
            "preprocessing": {"size": size},
            "recipe": summary["recipe"],
            "epochs": summary["settings"]["epochs"],
            "seed": summary["settings"]["seed"],
            "metrics": {name: round(value, 4) for name, value in evaluate(model, data).items()},
            "spec": spec.untagged().to_json(),
            "providers": {c.distribution: str(c.version) for c in providers_of(spec)},
            "figures": measure(model, size),
            "activity": count_activity(model, data, facts["dataset"]),
        }
    )


def count_activity(model: ImageClassifier, data: ImageSplit, dataset: str) -> Activity:
    """Spikes, operations and energy of one image, averaged over all of `data`."""
    counted = profile(model, images=(image for x, _ in data.batches(250) for image in x))
    assert counted.activity is not None
    assert counted.energy is not None
    work, images = counted.energy.total, counted.activity.images
    control = counted.control.energy if counted.control is not None else None
    rate = counted.activity.spike_rate
    return Activity(
        images=images,
        data=f"{images:,} images of {dataset}, by `zoo profile NAME --data`",
        spike_rate=None if rate is None else round(rate, 6),
        macs=round(work.macs / images),
        acs=round(work.acs / images),
        energy_uj=round(counted.energy.pj / 1e6, 4),
        control_energy_uj=None if control is None else round(control.pj / 1e6, 4),
    )


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[Path, typer.Option(help="Packed validation split (.npz) that the accuracy is measured on.")],
    tag: Annotated[str, typer.Option(help="Tag of the weight, such as cifar10.")],
    source: Annotated[str, typer.Option(help="Where the file will lie: package:module/file.safetensors.")],
    license: Annotated[str, typer.Option(help="Licence of the weight.")],
    dataset: Annotated[str, typer.Option(help="Name of the data.")],
    dataset_license: Annotated[str, typer.Option(help="Licence of the data.")],
    dataset_attribution: Annotated[str, typer.Option(help="Whom to credit for the data.")],
    dataset_note: Annotated[str, typer.Option(help="What else a reader must know of the data.")] = "",
) -> None:
    """Measure a finished run and print its catalog record."""
    facts = {
        "license": license,
        "dataset": dataset,
        "dataset_license": dataset_license,
        "dataset_attribution": dataset_attribution,
        "dataset_note": dataset_note,
    }
    record = record_run(run, tag, source, load_split(data, "val"), facts)
    content: dict[str, Any] = record.model_dump(mode="json", exclude_none=True)
    typer.echo(yaml.safe_dump([content], sort_keys=False, allow_unicode=True, width=110))


if __name__ == "__main__":
    typer.run(main)
