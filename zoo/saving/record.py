"""The record of weights that no catalog lists: what can be counted is counted, the rest their owner states."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from pydantic import ValidationError

from zoo.catalog.catalog import providers_of
from zoo.catalog.schema import Conversion, Figures, StoredWeight, complaints
from zoo.composition import build_model, parse_name
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import SaveError, TagError, shorten
from zoo.names import TAG, Options
from zoo.profiling import count_cost
from zoo.registry.registry import NOTEBOOK, Registry
from zoo.weights import count_classes, load_state, parse_weight

NOT_STATED = "not stated"
"""What a record says of what nobody has said."""


_PREPARED = ("interpolation", "crop_pct", "mean", "std")


@final
@dataclass(frozen=True)
class Statement:
    """What only the owner of a checkpoint knows.

    Attributes:
        license: of the weights; never assumed.
        labels: a name for every class, in the order of the logits.
        image_size: pixels a side that it was trained with.
        dataset: what it was trained on; dataset_id names it on the Hub, the others say whose it is.
        recipe, epochs, seed: how it was trained.
        metrics: `top1` and the like, in percent, measured on unseen images.
        limits: what it should not be used for.
        interpolation: how images are resized.
        crop_pct, mean, std: how they are prepared then, as in `Preprocessing`.
        control, started_from: names of weights, as in `StoredWeight`.
        converted: the file that the weights were converted from.
    """

    license: str
    labels: Sequence[str]
    image_size: int
    dataset: str
    dataset_id: str = ""
    dataset_license: str = NOT_STATED
    dataset_attribution: str = NOT_STATED
    dataset_note: str = ""
    recipe: str = ""
    epochs: int | None = None
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    limits: str = ""
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    control: str = ""
    started_from: str = ""
    converted: Conversion | None = None


def restate(weight: StoredWeight, stated: Mapping[str, str]) -> StoredWeight:
    """The record with what its owner says at publishing; nobody else knows a licence.

    Args:
        weight: of a folder.
        stated: field → text; what is left out stays as recorded.

    Raises:
        SaveError: a text that no record may have.
    """
    return _validated(weight.model_dump() | dict(stated), weight.name)


def state_metrics(weight: StoredWeight, metrics: Mapping[str, float]) -> StoredWeight:
    """The record with figures in percent, measured on unseen images; raises `SaveError`."""
    return _validated(weight.model_dump() | {"metrics": dict(metrics)}, weight.name)


def _validated(content: dict[str, Any], name: str) -> StoredWeight:
    try:
        return StoredWeight.model_validate(content)
    except ValidationError as error:
        raise SaveError(f"the record of {name} would not follow the schema: {complaints(error)}") from error


def measure(model: ImageClassifier, image_size: int) -> Figures:
    """The figures of a record, counted on this model."""
    cost = count_cost(model, image_size).to_json()
    return Figures.model_validate({name: cost[name] for name in Figures.model_fields})


def describe_checkpoint(
    name: str, data: bytes, origin: str, statement: Statement, registry: Registry | None = None
) -> StoredWeight:
    """The record of safetensors bytes that belong to the model `name`, which has a tag.

    Args:
        name: `variant.tag`.
        data: the whole file.
        origin: what errors call it.
        statement: what cannot be counted.
        registry: components to use; the installed ones by default.

    Raises:
        SaveError: no tag, or labels that are not the classes.
        WeightError: not a safetensors file, or not of that model.
        ModelNameError: the name is wrong.
    """
    return describe_rebuilt(rebuild(name, data, origin, registry), data, origin, statement, registry)


def check_tag(tag: str) -> str:
    """`tag` where a weight may have it; raises `TagError`."""
    if not TAG.fullmatch(tag):
        raise TagError(
            f"tag {shorten(tag)} is not valid; lower-case letters and digits, after the first '-' and '_' too"
        )
    return tag


def rebuild(
    name: str, data: bytes, origin: str, registry: Registry | None = None, options: Options | None = None
) -> ImageClassifier:
    """The network that `create_model` will make of these bytes; torch's generator is left as it was.

    `options` are those of its spec.

    Raises:
        SaveError: the name has no tag.
        WeightError: not a safetensors file, or not of that model.
        ModelNameError: the name is wrong.
    """
    spec = parse_name(name, registry).with_options(options or {})
    if spec.tag is None:
        raise SaveError(f"{name} needs a tag that names these weights, as in {name}.mine")
    state = parse_weight(data, origin)
    classes, channels = count_classes(spec, state, origin, registry)
    with torch.random.fork_rng(devices=[]):
        model = build_model(spec, classes, channels, registry=registry)
    load_state(model, state, origin, classes, channels)
    return model


def describe_rebuilt(
    model: ImageClassifier, data: bytes, origin: str, statement: Statement, registry: Registry | None = None
) -> StoredWeight:
    """The record of the bytes that `rebuild` has made a network of; raises `SaveError`."""
    spec, labels = model.spec, list(statement.labels)
    if len(labels) != model.num_classes:
        raise SaveError(f"{origin} has {model.num_classes} classes, but {len(labels)} labels were given")
    # What was registered in this process has no distribution that could be named; publishing refuses it.
    made_of = providers_of(spec, registry)
    content: dict[str, Any] = {
        "variant": spec.text,
        "tag": spec.tag,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "in_chans": model.in_chans,
        "preprocessing": {"size": statement.image_size} | {key: getattr(statement, key) for key in _PREPARED},
        "spec": spec.untagged().to_json(),
        "providers": {c.distribution: str(c.version) for c in made_of if c.distribution != NOTEBOOK},
        "figures": measure(model, statement.image_size),
    }
    stated = {key: value for key, value in vars(statement).items() if key not in ("image_size", *_PREPARED)}
    return _validated(content | stated | {"labels": labels}, str(spec))
