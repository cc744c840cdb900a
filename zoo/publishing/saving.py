"""Save networks as folders that load: `zoo.save`."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from pydantic import ValidationError

from zoo.catalog.records import Counts, StoredWeight, complaints
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.family import MAX_IMAGE_SIZE
from zoo.errors import (
    CountingError,
    ModelNameError,
    OptionError,
    SaveError,
    WeightError,
    ZooWarning,
    check_count,
    shorten,
)
from zoo.files import replace_files, write_folder
from zoo.models.factory import build_model, describe_model
from zoo.names import TAG, LocalFolder, Spec
from zoo.profiling.macs import blank_image, count_cost
from zoo.registry.components import GROUPS, NOTEBOOK, OURS, Registry, providers_of
from zoo.weights import load as weights
from zoo.weights.origin import Recorded

NOT_STATED = "not stated"  # stands in a record for what its owner has not said
DEFAULT_TAG = "saved"

_UNSTATED = dict.fromkeys(("license", "dataset", "dataset_license", "dataset_attribution"), NOT_STATED)


@final
@dataclass(frozen=True)
class ModelFolder:
    """A stored network in memory: its record, and its files, path inside the folder → bytes."""

    weight: StoredWeight
    files: Mapping[str, bytes]

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write a new or empty folder; it is complete, or as it was.

        `overwrite` replaces these files in a folder that may hold others. If that is interrupted, the folder loads as
        before or as afterwards, or is refused, since its config names other weights. Raises `SaveError`.
        """
        if not overwrite:
            check_new_folder(path)
        try:
            (replace_files if overwrite else write_folder)(path, self.files)
        except (OSError, ValueError) as error:
            raise SaveError(f"{path} cannot be written: {error}") from error


def check_new_folder(path: Path) -> None:
    """Raise `SaveError` if something would be written over, or is out of reach."""
    try:
        is_occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except (OSError, ValueError) as error:
        raise SaveError(f"{path} cannot be written: {error}") from error
    if is_occupied:
        raise SaveError(f"{path} is a file or not empty; name a folder that is empty or does not exist yet")


def make_config(model: ImageClassifier, weight: StoredWeight) -> bytes:
    """Serialise the config.json of a weight that is in this model."""
    cfg = Recorded(weight, LocalFolder(Path())).describe_in(model)
    return weights.write_config(weight, cfg, model.num_features)


def with_metadata(weight: StoredWeight, metadata: Mapping[str, str]) -> StoredWeight:
    """Return the record with what its owner says at publishing, field → text; raises `SaveError`."""
    return _validated(weight.model_dump() | dict(metadata), weight.name)


def measure(model: ImageClassifier, image_size: int) -> Counts:
    """Count the figures of a record on this model; where fvcore cannot, MACs are left out with a warning."""
    size = check_count("image_size", image_size, 1, MAX_IMAGE_SIZE)
    try:
        return count_cost(model, size).counts
    except CountingError as error:
        model.check_image(blank_image(model, size))
        warnings.warn(f"{error}; the record has no MACs", ZooWarning, stacklevel=2)
        params = sum(parameter.numel() for parameter in model.parameters())
        return Counts(params=params, image_size=size, timesteps=model.timesteps, macs=None, macs_per_timestep=None)


def without_folders(text: str) -> str:
    """Shorten paths in a text to their last part, `/home/ann/photos` to `photos`: a card is read on other machines."""
    return re.sub(r"(?<!\S)(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^/\\:;,]+[/\\])*([^/\\:;,]+)", r"\1", text)


def check_tag(tag: str) -> str:
    """Return `tag` if a weight may have it; raises `ModelNameError`."""
    if not TAG.fullmatch(tag):
        raise ModelNameError(f"tag {shorten(tag)} is not valid; lower-case letters and digits, then '-' and '_' too")
    return tag


def rebuild(spec: Spec, data: bytes, origin: str, registry: Registry | None = None) -> ImageClassifier:
    """Build the network of a spec, and load the bytes of a model.safetensors into it, which proves that they load.

    Raises `WeightError`, which calls the bytes `origin`, and `ModelNameError`.
    """
    state = weights.parse_weight(data, origin)
    classes, channels = weights.count_classes(describe_model(spec, registry=registry), state, origin)
    with torch.random.fork_rng(devices=[]):
        model = build_model(spec, classes, channels, registry)
    weights.load(model, state, origin, classes, channels)
    return model


def build_folder(
    model: ImageClassifier, data: bytes, facts: Mapping[str, Any], registry: Registry | None = None
) -> ModelFolder:
    """Build the folder of a network, of tensors as `weights.pack` makes them, without a card.

    `facts` are fields of `StoredWeight` that cannot be counted: `labels` and `preprocessing`; `license`, `dataset`, …;
    `tag`, if the network's spec has none.

    Raises:
        SaveError: labels that are not the classes, or facts that no record may hold.
    """
    spec = model.spec
    if len(facts["labels"]) != model.num_classes:
        raise SaveError(f"{spec} has {model.num_classes} classes, but {len(facts['labels'])} labels were given")
    # What was registered in this process has no distribution that could be named; publishing refuses it.
    providers = [used for used in providers_of(spec, registry) if used.distribution != NOTEBOOK]
    others = (used for used in providers if used.distribution != OURS and used.kind in GROUPS)
    content: dict[str, Any] = {
        "recipe": "",
        "metrics": {},
        **_UNSTATED,
        "tag": spec.tag,
        **facts,
        "variant": spec.text,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "in_chans": model.in_chans,
        "spec": spec.untagged().to_json(),
        "providers": {used.distribution: str(used.version) for used in providers},
        "components": {used.kind: used.distribution for used in others},
        "figures": measure(model, dict(facts["preprocessing"])["size"]),
    }
    weight = _validated(content, str(spec))
    return ModelFolder(weight, {weights.MODEL: data, weights.CONFIG: make_config(model, weight)})


def _validated(content: dict[str, Any], name: str) -> StoredWeight:
    try:
        return StoredWeight.model_validate(content)
    except ValidationError as error:
        raise SaveError(f"the record of {name} would not follow the schema: {complaints(error)}") from error


def save(
    model: ImageClassifier,
    folder: Path | str,
    *,
    labels: Sequence[str] | None = None,
    license: str = NOT_STATED,
    dataset: str = NOT_STATED,
    metrics: Mapping[str, float] | None = None,
    tag: str = DEFAULT_TAG,
    image_size: int | None = None,
    overwrite: bool = False,
    registry: Registry | None = None,
) -> StoredWeight:
    """Write a network as a folder that `create_model("local-dir:…")` loads, with the same logits.

    Example:
        >>> import zoo
        >>> model = zoo.create_model("has8_resnet_b2_m2_d1_ste_bpd", num_classes=2)
        >>> record = zoo.save(model, "saved", labels=["cat", "dog"])
        >>> record.name
        'has8_resnet_b2_m2_d1_ste_bpd.saved'
        >>> zoo.create_model("local-dir:saved").num_classes
        2

    The folder holds model.safetensors and config.json; `zoo predict`, `zoo eval` and `zoo publish` take it too.
    Nothing half-written remains.

    Args:
        model: a network as `create_model` builds it, of float values, on any device, trained or not.
        folder: a new one, or one that is empty.
        labels: a name for every class; None for those of the checkpoint that the network has, if they are as many
            classes, else `class 0`, `class 1`, ….
        license: of the weights; `zoo publish` asks for one.
        dataset: what the network was trained on.
        metrics: `top1` and the like, in percent, measured on unseen images.
        tag: of the checkpoint, as in `variant.tag`: lower-case letters and digits, after the first '-' and '_' too.
        image_size: pixels a side that it was trained with; None for those of the checkpoint that it has, or 224.
        overwrite: replace the model in the folder, if one is there; other files stay as they are.
        registry: components that the network is made of; the installed ones by default.

    Returns:
        The record in config.json.

    Raises:
        SaveError: the folder holds something, or cannot be written; weights hold NaN or infinity; the network is not
            the one of its name any more, as after `fuse()`; labels that are not the classes.
        ModelNameError: the tag is not one.
        InputError, CompositionError: the image size is too small for the network, or out of range.
        OptionError: `model` is not a network of the zoo.
    """
    facts: dict[str, Any] = {"license": license, "dataset": dataset, "metrics": dict(metrics or {})}
    saved = folder_of(model, labels, tag, image_size, registry, **facts)
    saved.write(Path(folder), overwrite=overwrite)
    return saved.weight


def folder_of(
    model: ImageClassifier,
    labels: Sequence[str] | None = None,
    tag: str = DEFAULT_TAG,
    image_size: int | None = None,
    registry: Registry | None = None,
    **facts: Any,
) -> ModelFolder:
    """Build the folder that `save` writes; takes and raises as `save` does."""
    if not isinstance(model, ImageClassifier):
        raise OptionError(f"save takes a network of the zoo, not {type(model).__name__}; build one by create_model")
    origin, state = str(model.spec), model.state_dict()
    if not model.num_classes:
        raise SaveError(f"{origin} has no classes; give it a last layer by reset_classifier(n), then save it")
    if any(value.is_meta for value in state.values()):
        raise SaveError(f"{origin} is on the meta device, which holds no values; build it on 'cpu'")
    preprocessing = weights.stated_preprocessing(model).model_dump()
    facts |= {
        "tag": check_tag(tag),
        "labels": list(weights.labels_of(model) if labels is None else labels),
        "preprocessing": preprocessing if image_size is None else preprocessing | {"size": image_size},
    }
    try:
        data = weights.pack(state, model.spec)
        return build_folder(rebuild(model.spec.untagged(), data, origin, registry), data, facts, registry)
    except WeightError as error:
        advice = "would not load again; save finite weights, before fuse(), pruning, or an exchange of layers"
        raise SaveError(f"{origin} {advice} ({error})") from error
