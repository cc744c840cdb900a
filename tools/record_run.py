"""The catalog record of a finished run: `python -m tools.record_run RUN --source package:… --data DATA …`.

Prints YAML for the `weights:` list of a registry.yaml. Every figure is computed here, none is typed in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from zoo.catalog.records import Activity, Preprocessing, WeightRecord
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import Transform
from zoo.data.load import sample_images
from zoo.errors import InputError, printable
from zoo.inference.evaluate import measure_weight, rounded
from zoo.models.factory import open_model
from zoo.profiling import profile
from zoo.publishing.saving import measure


def record_run(
    run: Path,
    tag: str,
    source: str,
    data: str | Path,
    facts: dict[str, str],
    counted: int | None = None,
    batch: int | None = None,
) -> WeightRecord:
    """The record of `run`, a folder of `zoo train`, measured again on `data`.

    Args:
        run: the folder.
        tag, source: of the weight.
        data: whose validation split, all of it, the accuracy is measured on; undivided data that the run divided are
            divided again, as by `zoo eval`.
        facts: other fields of the record.
        counted: images that spikes and operations are counted on; None for all.
        batch: images at once that the accuracy is measured with; None for 250, or of large images as many as fit.

    Raises:
        WeightError: the run is not finished.
        InputError: its classes are not those of the data.
    """
    opened = open_model(f"local-dir:{run}")
    stored = opened.weight
    assert stored is not None  # a folder has one
    evaluation = measure_weight(opened.loads, data, batch_size=batch).evaluation
    absent = [score["name"] for score in evaluation.scores() if not score["images"]]
    if absent:
        raise InputError(f"{run} was trained on other classes than those of {data}, which lacks {', '.join(absent)}")
    model = opened.build()
    content = stored.model_dump() | facts | {"tag": tag, "source": source}
    content["metrics"] = rounded(evaluation, tops_alone=True)
    content["figures"] = measure(model, stored.preprocessing.size)
    content["activity"] = count_activity(model, data, stored.preprocessing, facts["dataset"], counted)
    return WeightRecord.model_validate(content)


def count_activity(
    model: ImageClassifier, data: str | Path, preprocessing: Preprocessing, dataset: str, most: int | None = None
) -> Activity:
    """Spikes, operations and energy of one image, averaged over the images that `zoo profile --limit` would take.

    Args:
        model: with its weight.
        data: as for `zoo profile --data`; of data with a validation split, that.
        preprocessing: of the weight.
        dataset: what the data are called.
        most: how many images, spread over the classes; None for all.
    """
    sample = sample_images(data, sys.maxsize if most is None else most)
    counted = profile(model, images=(Transform(preprocessing)(image) for image, _ in sample))
    images = counted.activity.images if counted.activity else 0
    activity = counted.to_activity(
        f"{images:,} images of {dataset}, by `zoo profile NAME --data DATA --limit {images}`"
    )
    assert activity is not None  # there were images
    return activity


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[Path, typer.Option(help="What the accuracy is measured on: its validation split.")],
    tag: Annotated[str, typer.Option(help="Tag of the weight, such as cifar10.")],
    source: Annotated[str, typer.Option(help="Where the file will lie: package:module/file.safetensors.")],
    license: Annotated[str, typer.Option(help="Licence of the weight.")],
    dataset: Annotated[str, typer.Option(help="Name of the data.")],
    dataset_license: Annotated[str, typer.Option(help="Licence of the data.")],
    dataset_attribution: Annotated[str, typer.Option(help="Whom to credit for the data.")],
    dataset_note: Annotated[str, typer.Option(help="What else a reader must know of the data.")] = "",
    limits: Annotated[str, typer.Option(help="What the weight is not good for, and why.")] = "",
    recipe: Annotated[str, typer.Option(help="How it was trained, where more than the run's own settings.")] = "",
    activity_images: Annotated[
        int | None, typer.Option(min=1, help="Images that operations are counted on.  (default: all)")
    ] = None,
    eval_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at once.  (default: 250; fewer if they are larger than 64×64)")
    ] = None,
) -> None:
    """Measure a finished run and print its catalog record."""
    facts = {
        "license": license,
        "dataset": dataset,
        "dataset_license": dataset_license,
        "dataset_attribution": dataset_attribution,
        "dataset_note": dataset_note,
        "limits": limits,
    } | ({"recipe": recipe} if recipe else {})
    record = record_run(run, tag, source, data, facts, activity_images, eval_batch_size)
    content: dict[str, Any] = record.model_dump(mode="json", exclude_none=True)
    required = {key for key, field in type(record).model_fields.items() if field.is_required()}
    content = {key: value for key, value in content.items() if key in required or value not in ("", {})}
    texts = json.dumps(content, ensure_ascii=False)
    readable = printable(texts) == texts  # else written out, as YAML can
    print(yaml.safe_dump([content], sort_keys=False, allow_unicode=readable, width=110))


if __name__ == "__main__":
    typer.run(main)
