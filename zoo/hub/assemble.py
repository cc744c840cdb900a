"""The files of a published weight, checked on this machine before anybody else sees them."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from huggingface_hub import ModelCard
from torch import Tensor

from zoo.catalog.catalog import Catalog, default_catalog, providers_of
from zoo.catalog.schema import StoredWeight, WeightRecord
from zoo.catalog.sources import Source
from zoo.composition import build_model, parse_name
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import PublishError, ZooError
from zoo.hub.card import metadata, write_card, write_eval_results
from zoo.names import Spec
from zoo.registry.registry import NOTEBOOK, default_registry
from zoo.saving.folder import ModelFolder, make_config
from zoo.saving.record import NOT_STATED, measure
from zoo.weights import HubAccess, load_weight, parse_weight, read_weight
from zoo.weights.config_json import CONFIG, MODEL, read_config
from zoo.weights.read import check_published

CARD = "README.md"
_NO_LICENSE = frozenset({"", "none", "unknown", "tbd", "todo", "unlicensed", NOT_STATED})


def assemble(
    weight: StoredWeight, source: Source, reference: str, access: HubAccess | None = None, data: bytes | None = None
) -> ModelFolder:
    """The folder of a weight, every claim of its record that can be checked here checked.

    Args:
        weight: the record.
        source: where its bytes lie.
        reference: what the card's snippet loads: `hf-hub:org/name` or `local-dir:path`.
        access: how to reach the Hub, for a source there.
        data: the bytes themselves, where they were read already; checked all the same.

    Raises:
        PublishError: no licence, or figures that are not the model's.
        ModelNameError, WeightError, HubError: as `create_model` does.
    """
    if weight.license.strip().lower() in _NO_LICENSE:
        advice = "state the weights' own, such as MIT or CC-BY-4.0 (zoo publish --license MIT)"
        raise PublishError(f"{weight.name} names no licence; {advice}")
    if isinstance(weight, WeightRecord):
        weight = weight.stored()
    spec = weight.spec_of(parse_name(weight.variant))
    for component in providers_of(spec):
        if component.distribution == NOTEBOOK:
            raise PublishError(
                f"{weight.name}: nobody else has {component.kind} {component.name!r}, which this process registered; "
                "put it into a distribution (zoo plugins new), then publish"
            )
    if data is None:
        data = read_weight(weight, source, access)
    else:
        check_published(data, weight, str(source), "make its record again")
    model = _check_model(weight, spec, parse_weight(data, weight.name))
    files = {MODEL: data, CONFIG: make_config(model, weight)}
    files |= {CARD: write_card(weight, spec, reference, control_of(weight, spec))}
    files |= write_eval_results(weight)
    _check_texts(weight, spec, files)
    return ModelFolder(weight, files)


def control_of(weight: StoredWeight, spec: Spec, catalog: Catalog | None = None) -> WeightRecord | None:
    """The published weight of the same network without spikes: the one that the record names, else that of its tag.

    Only one that the catalog lists, and whose figures can stand beside these: of the same classes and channels, the
    same images prepared alike.
    """
    name = default_registry().load("family", spec.family)().control(dict(spec.fields))
    records = (catalog or default_catalog()).weights.get(name, []) if name else []
    wanted, purpose = weight.control or f"{name}.{spec.tag}", _measured_on(weight)
    return next((record for record in records if record.name == wanted and _measured_on(record) == purpose), None)


def _measured_on(weight: StoredWeight) -> tuple[object, ...]:
    data = weight.dataset, weight.dataset_note, weight.labels
    return *data, weight.in_chans, weight.preprocessing, weight.figures.image_size


def _check_model(weight: StoredWeight, spec: Spec, state: dict[str, Tensor]) -> ImageClassifier:
    model = build_model(spec, weight.num_classes, weight.in_chans)
    load_weight(model, weight, state)
    counted = measure(model, weight.figures.image_size)
    differences = {
        name: (recorded, measured)
        for (name, recorded), (_, measured) in zip(weight.figures, counted, strict=True)
        if recorded != measured
    }
    if differences:
        text = "; ".join(
            f"{name} is {measured}, the record says {recorded}" for name, (recorded, measured) in differences.items()
        )
        raise PublishError(f"{weight.name}: {text}; correct the record")
    return model


def _check_texts(weight: StoredWeight, spec: Spec, files: Mapping[str, bytes]) -> None:
    """What was written must say, when read again, what was meant."""
    try:
        stored = read_config(files[CONFIG], weight.name)
        card = ModelCard(files[CARD].decode()).data.to_dict()
    except (ZooError, yaml.YAMLError, ValueError, TypeError) as error:
        raise PublishError(f"{weight.name}: its config or card cannot be read again: {error}") from error
    if stored != weight or card != metadata(weight, spec).to_dict():
        raise PublishError(f"{weight.name}: its config or card says something else than its record")
