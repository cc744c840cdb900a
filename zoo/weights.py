"""Fetch the bytes of a weight, verify them, load them strictly, and describe them in timm's words.

Size and sha256 come first, then safetensors, then every key and shape. A stored network is config.json beside
model.safetensors; the config holds names, numbers and versions, never a class path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.catalog import Preprocessing, Record, StoredWeight, complaints
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.family import PublishedWeights
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE
from zoo.errors import WeightError
from zoo.files import is_file
from zoo.hub.read import Hub
from zoo.names import HubRepository, LocalFolder, PackageFile, Source, Spec
from zoo.registry import package_file

CONFIG = "config.json"
MODEL = "model.safetensors"
RUN = "run.json"
"""Written by `zoo train` from its start on; config.json comes at the end."""
MAX_CONFIG_BYTES = 8 << 20
"""A million labels fit."""
_MAX_PUBLISHED_BYTES = 1 << 32
"""timm's largest convolutional networks have about half of it."""
_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# torch's own errors are about sizes: a shape of no elements may have more than its strides can count.
_UNREADABLE = (SafetensorError, KeyError, RuntimeError, TypeError)


# config.json


@final
class ZooSection(Record):
    """The part of a config.json that the zoo reads, under the key `zoo`."""

    format: Literal[1, 2] = Field(description="raised when an older zoo could not read it; 2: mean, std, options")
    weight: StoredWeight


def write_config(weight: StoredWeight, cfg: Mapping[str, Any], num_features: int) -> bytes:
    """Serialise a config.json: timm's keys at the top, ours under `zoo`.

    Args:
        weight: what is stored.
        cfg: the model's `pretrained_cfg`.
        num_features: channels of its feature map.
    """
    timm = {key: value for key, value in cfg.items() if key not in ("architecture", "source", "label_names")}
    content = {
        "architecture": weight.variant,
        "num_classes": weight.num_classes,
        "num_features": num_features,
        "label_names": list(weight.labels),
        "model_args": {"in_chans": weight.in_chans},
        "pretrained_cfg": timm,
        "zoo": ZooSection(format=2, weight=weight).model_dump(mode="json"),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read_config(data: bytes, origin: str) -> StoredWeight:
    """Read the stored weight of a config.json.

    Raises:
        WeightError: not a config, or of another format; the message names `origin`.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise WeightError(f"{origin}: {CONFIG} has {len(data):,} bytes; valid: up to {MAX_CONFIG_BYTES:,}")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{origin}: {CONFIG} is not JSON ({error})") from error
    section = content.get("zoo") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise WeightError(f"{origin}: {CONFIG} has no key 'zoo'; it was not written by `zoo publish` or `zoo train`")
    if section.get("format") not in (1, 2):
        raise WeightError(
            f"{origin}: {CONFIG} is of format {section.get('format')!r}, this zoo reads 1 and 2; "
            "update it with: pip install --upgrade has8-zoo"
        )
    try:
        return ZooSection.model_validate(section).weight
    except ValidationError as error:
        raise WeightError(f"{origin}: {CONFIG} does not follow the schema: {complaints(error)}") from error


def read_folder(folder: Path) -> StoredWeight:
    """Read the stored weight of a folder; raises `WeightError` if it holds none."""
    file = folder / CONFIG
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CONFIG_BYTES + 1)
    except (OSError, ValueError) as error:
        if is_file(folder / RUN):
            raise WeightError(
                f"{folder} holds a run that has not finished; continue it: zoo train … --out {folder} --resume"
            ) from error
        raise WeightError(
            f"{file} cannot be read ({getattr(error, 'strerror', None) or error}); local-dir: names a folder that "
            "`zoo publish --to-dir` or `zoo train` wrote"
        ) from error
    return read_config(data, f"local-dir:{folder}")


# Bytes → tensors


def read_weight(weight: StoredWeight, source: Source, hub: Hub | None = None) -> bytes:
    """Read the bytes of a weight, exactly those that its record names.

    Raises:
        WeightError: missing, or not the recorded bytes.
        HubError: the Hub cannot be reached, or refuses.
    """
    advice = "reinstall the distribution that holds it"
    if isinstance(source, HubRepository):
        data = (hub or Hub()).fetch(source, MODEL, weight.size, weight.sha256)
    elif isinstance(source, PackageFile):
        try:
            data = package_file(source.module, source.path).read_bytes()
        except (ModuleNotFoundError, OSError) as error:
            raise WeightError(
                f"{weight.name}: {source.path} is not in package {source.module!r}; reinstall it ({error})"
            ) from error
    elif isinstance(source, LocalFolder):
        file = source.path / MODEL
        advice = f"config.json beside it names another file; publish or copy {source.path} again"
        try:
            with file.open("rb") as opened:  # allocates neither more than was recorded nor more than there is
                data = opened.read(min(os.fstat(opened.fileno()).st_size, weight.size + 1))
        except OSError as error:
            raise WeightError(f"{weight.name}: {file} cannot be read ({error.strerror})") from error
    else:
        raise TypeError(f"no published weight lies in {source!r}")
    digest = hashlib.sha256(data).hexdigest()
    if (len(data), digest) != (weight.size, weight.sha256):
        raise WeightError(
            f"{weight.name}: {source} is not the published file: {len(data)} bytes, sha256 {digest[:12]}…, "
            f"expected {weight.size} bytes, sha256 {weight.sha256[:12]}…; {advice}"
        )
    return data


def parse_weight(data: bytes, name: str) -> dict[str, Tensor]:
    """Read the tensors of verified bytes; raises `WeightError` if they are not a safetensors file."""
    try:
        return load_bytes(data)
    except _UNREADABLE as error:
        raise WeightError(f"{name}: not a safetensors file: {_reason(error)}") from error


def read_plain_file(file: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file that no catalog knows; a pickle is never opened.

    Raises:
        WeightError: missing, or not a safetensors file; of a pickle it says how to convert it.
    """
    try:
        return load_file(file)
    except _UNREADABLE as error:
        advice = "other formats can hold code and are not read"
        if Path(file).suffix in (".pt", ".pth", ".bin", ".ckpt"):
            safe = Path(file).with_suffix(".safetensors")
            advice = (
                "a pickle can hold code. Write its tensors once: safetensors.torch.save_file(torch.load"
                f"({str(file)!r}, weights_only=True), {str(safe)!r}), or see `zoo convert --help` for other networks"
            )
        raise WeightError(f"{file} is not a safetensors file ({_reason(error)}); {advice}") from error
    except (OSError, ValueError) as error:
        raise WeightError(f"{file} cannot be read: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"numbers of type {error}, which this zoo does not read"
    return str(error).partition("\n")[0]  # torch appends its own call stack


def pack(state: Mapping[str, Tensor], spec: Spec) -> bytes:
    """Serialise tensors as a model.safetensors."""
    # Copies: safetensors takes no two tensors of one storage, which a network that shares layers has.
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    return save(copies, metadata={"spec": json.dumps(spec.untagged().to_json())})


# Tensors → network


def load(model: ImageClassifier, state: Mapping[str, Tensor], place: str, num_classes: int, in_chans: int) -> None:
    """Load the tensors of a network of `num_classes` and `in_chans` into a model of its variant.

    If the model has another number of classes, its last layer keeps its own values; if it has other channels, the first
    convolutions are adapted. Every other key and shape must match exactly.

    Args:
        model: loaded in place.
        state: key → tensor.
        place: what errors call them.
        num_classes, in_chans: of the network that the tensors belong to.

    Raises:
        WeightError: not fitting, or not finite; the message names the key.
    """
    adapted, own = dict(state), model.state_dict()
    if any(value.is_meta for value in (*own.values(), *state.values())):
        raise WeightError(
            f"{place} cannot be loaded on or from the meta device, which holds no values; build on 'cpu', or without "
            "weights, by pretrained=False"
        )
    if model.num_classes != num_classes:
        for key in (f"{name}.{part}" for name in model.classifier_names for part in ("weight", "bias")):
            adapted.pop(key, None)
            if key in own:
                adapted[key] = own[key]
    if model.in_chans != in_chans:
        for key in (f"{name}.weight" for name in model.first_conv_names):
            if key in adapted:  # a missing one is named below
                adapted[key] = adapt_channels(adapted[key], model.in_chans)
    check_fit(adapted, model, place)
    _check_finite(place, state, own)
    model.load_state_dict(adapted, strict=True)


def adapt_channels(weight: Tensor, in_chans: int) -> Tensor:
    """Adapt a first convolution (O, C, h, w) to another number of channels.

    Summed for one channel; otherwise repeated, cut, and scaled by C / in_chans so that outputs keep their size.
    """
    channels = weight.shape[1]
    if in_chans == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-in_chans // channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_chans] * (channels / in_chans)


def check_fit(state: Mapping[str, Tensor], model: ImageClassifier, place: str) -> None:
    """Raise `WeightError` unless keys, shapes and types are those of the model, which may be on the meta device."""
    own = model.state_dict()
    shared = own.keys() & state.keys()
    problems = {
        "missing": own.keys() - state.keys(),
        "unexpected": state.keys() - own.keys(),
        "of another shape": {key for key in shared if own[key].shape != state[key].shape},
        "of another type": {key for key in shared if not _is_alike(own[key], state[key])},
    }
    if any(problems.values()):
        text = "; ".join(f"{what}: {', '.join(sorted(keys)[:5])}" for what, keys in problems.items() if keys)
        raise WeightError(f"{place} does not fit its model; {text}")


def _is_alike(own: Tensor, stored: Tensor) -> bool:
    """Allow a change of precision alone: a complex number, say, would lose half of itself in silence."""
    return stored.dtype in _REAL if own.is_floating_point() else stored.dtype == own.dtype


def _check_finite(place: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise `WeightError` for the first tensor with a value that is not finite, or that the model's type cannot hold.

    Lowest and highest are found in one pass without a copy; both are NaN if any value is.
    """
    for key, value in state.items():
        if not value.is_floating_point() or not value.numel():
            continue  # a count of batches, say
        low, high = (float(bound) for bound in torch.aminmax(value))
        if not -math.inf < low <= high < math.inf:
            raise WeightError(
                f"{place}: {key} holds NaN or infinity; weights are finite numbers: take an earlier checkpoint, or "
                "train again with a lower learning rate"
            )
        dtype = own.get(key, value).dtype
        if dtype.is_floating_point and max(-low, high) > torch.finfo(dtype).max:
            raise WeightError(
                f"{place}: {key} holds {max(low, high, key=abs):g}, but {dtype} reaches ±{torch.finfo(dtype).max:g}; "
                "load it with dtype=torch.float32"
            )


def count_classes(described: ImageClassifier, state: Mapping[str, Tensor], place: str) -> tuple[int, int]:
    """Read classes and image channels off the shapes of a network's tensors.

    Args:
        described: that network with any number of classes, on the meta device too.
        state: key → tensor.
        place: what errors call them.

    Raises:
        WeightError: the tensors hold no such last layer or first convolution.
    """
    counts = []
    for name, axis in ((described.classifier_names[-1], 0), (described.first_conv_names[0], 1)):
        tensor = state.get(f"{name}.weight")
        if tensor is None or tensor.dim() <= axis:
            raise WeightError(f"{place} holds no {name}.weight; it is not a checkpoint of {described.spec.untagged()}")
        counts.append(tensor.shape[axis])
    return counts[0], counts[1]


# Weights that a network's own publisher keeps


def read_published(published: PublishedWeights, hub: Hub) -> tuple[dict[str, Tensor], HubRepository, str]:
    """Fetch the weights of a network's publisher at their newest commit.

    Returns:
        The tensors by our keys, the repository at that commit, and the file's sha256.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        WeightError: not a safetensors file.
    """
    repository = hub.pin(HubRepository(published.file.repo_id, published.file.revision), remember=True)
    data = hub.fetch(repository, published.file.filename, _MAX_PUBLISHED_BYTES)
    state = parse_weight(data, f"{published.file.filename} of {repository}")
    return {published.prefix + key: value for key, value in state.items()}, repository, hashlib.sha256(data).hexdigest()


# In timm's words


def describe(model: ImageClassifier, weight: StoredWeight | None, source: Source | None = None) -> dict[str, Any]:
    """Make a model's `pretrained_cfg`: where its weights come from, if any, and how to prepare an image."""
    cfg = _describe_network(model)
    return cfg if weight is None else _for_classes(cfg | describe_weight(weight) | {"source": str(source)}, model)


def describe_published(
    model: ImageClassifier, published: PublishedWeights, source: Source, sha256: str
) -> dict[str, Any]:
    """Make the `pretrained_cfg` of a model with its publisher's weights."""
    cfg = _describe_network(model) | {
        "tag": published.tag,
        "license": published.stated.license or None,
        "num_classes": published.num_classes,
        "label_names": list(published.stated.labels),
        **_describe_images(preprocessing_of_published(published), published.in_chans),
        "source": str(source),
        "sha256": sha256,
    }
    return _for_classes(cfg, model)


def describe_untrained(num_classes: int, in_chans: int) -> dict[str, Any]:
    """Describe a network without weights in timm's words."""
    images = _describe_images(Preprocessing(size=DEFAULT_IMAGE_SIZE), in_chans)
    return {"num_classes": num_classes, "fixed_input_size": False, **images}


def describe_weight(weight: StoredWeight) -> dict[str, Any]:
    """Describe what a weight was trained for, and how to prepare an image for it."""
    return {
        "tag": weight.tag,
        "license": weight.license,
        "num_classes": weight.num_classes,
        "label_names": list(weight.labels),
        **_describe_images(weight.preprocessing, weight.in_chans),
    }


def describe_layers(model: ImageClassifier) -> dict[str, Any]:
    """Name the layers whose shapes depend on classes and channels."""
    named = (("classifier", model.classifier_names), ("first_conv", model.first_conv_names))
    return {key: names[0] if len(names) == 1 else names for key, names in named}


def _describe_network(model: ImageClassifier) -> dict[str, Any]:
    untrained = describe_untrained(model.num_classes, model.in_chans)
    return {"architecture": model.spec.text} | untrained | describe_layers(model)


def _describe_images(preprocessing: Preprocessing, in_chans: int) -> dict[str, Any]:
    mean, std = preprocessing.of_channels(in_chans)
    return {
        "input_size": (in_chans, preprocessing.size, preprocessing.size),
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop,
        "mean": mean,
        "std": std,
    }


def _for_classes(cfg: dict[str, Any], model: ImageClassifier) -> dict[str, Any]:
    """Leave out the labels of a weight whose last layer the model does not have."""
    other = cfg["num_classes"] != model.num_classes
    return cfg | {"num_classes": model.num_classes, "label_names": []} if other else cfg


def preprocessing_of_published(published: PublishedWeights) -> Preprocessing:
    """Return how images are prepared for a publisher's weights."""
    stated = published.stated
    return Preprocessing.model_validate(
        {
            "size": stated.image_size or DEFAULT_IMAGE_SIZE,
            "interpolation": stated.interpolation,
            "crop_pct": stated.crop_pct,
            "mean": _one_for_all(stated.mean),
            "std": _one_for_all(stated.std),
        }
    )


def labels_of(model: ImageClassifier) -> tuple[str, ...]:
    """Return a name for every class: those of the model's weight, or `class 0`, …."""
    known = model.pretrained_cfg.get("label_names") or ()
    return tuple(map(str, known)) if len(known) == model.num_classes else default_labels(model.num_classes)


def default_labels(count: int) -> tuple[str, ...]:
    """Return labels of classes without names."""
    return tuple(f"class {index}" for index in range(count))


def stated_preprocessing(model: ImageClassifier, image_size: int | None = None) -> Preprocessing:
    """Return how images are prepared for a model, as its `pretrained_cfg` states it.

    Args:
        model: without a weight the image size is 224, or the smallest that it takes.
        image_size: pixels a side, in place of the stated one.

    Example:
        >>> import zoo
        >>> stated_preprocessing(zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd.cifar10")).size
        32
    """
    cfg = describe_untrained(model.num_classes, model.in_chans) | model.pretrained_cfg
    return Preprocessing(
        size=image_size or max(int(cfg["input_size"][-1]), model.min_image_size),
        interpolation=cfg["interpolation"],
        crop_pct=cfg["crop_pct"],
        mean=_one_for_all(cfg["mean"]),
        std=_one_for_all(cfg["std"]),
    )


def _one_for_all(values: Sequence[float]) -> tuple[float, ...]:
    """Values of the channels as a record writes them: one number if all are the same."""
    return (float(values[0]),) if len(set(values)) == 1 else tuple(float(value) for value in values)
