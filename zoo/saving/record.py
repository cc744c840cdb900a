"""The record of a checkpoint that no catalog lists: what can be counted is counted, the rest its owner states."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from zoo.catalog import providers_of
from zoo.composition import build_model, parse_name
from zoo.errors import PublishError
from zoo.hub.folder import NOT_STATED, measure
from zoo.records import Preprocessing, StoredWeight, complaints
from zoo.registry import NOTEBOOK, Registry
from zoo.weights import count_classes, load_state, parse_weight


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
    metrics: dict[str, float] = field(default_factory=dict)
    limits: str = ""


def restate(weight: StoredWeight, stated: Mapping[str, str]) -> StoredWeight:
    """The record with what its owner says at publishing; nobody else knows a licence.

    Args:
        weight: of a folder.
        stated: field → text; what is left out stays as recorded.

    Raises:
        PublishError: a text that no record may have.
    """
    return _validated(weight.model_dump() | dict(stated), weight.name)


def _validated(content: dict[str, Any], name: str) -> StoredWeight:
    try:
        return StoredWeight.model_validate(content)
    except ValidationError as error:
        raise PublishError(f"the record of {name} would not follow the schema: {complaints(error)}") from error


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
        PublishError: no tag, or labels that are not the classes.
        WeightError: not a safetensors file, or not of that model.
        ModelNameError: the name is wrong.
    """
    spec = parse_name(name, registry)
    if spec.tag is None:
        raise PublishError(f"{name} needs a tag that names these weights, as in {name}.mine")
    state = parse_weight(data, origin)
    classes, channels = count_classes(spec, state, origin, registry)
    if len(statement.labels) != classes:
        raise PublishError(f"{origin} has {classes} classes, but {len(statement.labels)} labels were given")
    model = build_model(spec, classes, channels, registry=registry)
    load_state(model, state, origin, classes, channels)
    # What was registered in this process has no distribution that could be named; publishing refuses it.
    made_of = providers_of(spec, registry)
    content: dict[str, Any] = {
        "variant": spec.text,
        "tag": spec.tag,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "in_chans": channels,
        "preprocessing": Preprocessing(size=statement.image_size),
        "spec": spec.untagged().to_json(),
        "providers": {c.distribution: str(c.version) for c in made_of if c.distribution != NOTEBOOK},
        "figures": measure(model, statement.image_size),
    }
    stated = {name: value for name, value in vars(statement).items() if name != "image_size"}
    return _validated(content | stated, name)
