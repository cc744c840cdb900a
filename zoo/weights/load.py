"""Fetch the bytes of a checkpoint, verify them, load them strictly, and describe them in timm's words.

Size and sha256 come first, then safetensors, then every key and shape. A stored network is config.json beside
model.safetensors; the config holds names, numbers and versions, never a class path.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.catalog.records import Preprocessing, Record, StoredWeight, complaints
from zoo.contracts.classifier import ImageClassifier, branch_key
from zoo.contracts.family import DEFAULT_IMAGE_SIZE
from zoo.errors import UnfinishedWarning, WeightError
from zoo.names import HubRepository, LocalFolder, Options, Source, Spec
from zoo.registry.components import package_file

if TYPE_CHECKING:
    from zoo.weights.hub import Hub

CONFIG = "config.json"
MODEL = "model.safetensors"
RUN = "run.json"  # written by `zoo train` from its start on; config.json comes at the end
LATEST = "latest"  # holds the network after the last epoch while a run is unfinished
MAX_CONFIG_BYTES = 8 << 20  # a million labels fit
NO_MODEL = "local-dir: names a folder that `zoo publish --out` wrote, or a finished run of `zoo train`"
_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# torch's own errors are about sizes: a shape of no elements may have more than its strides can count.
_UNREADABLE = (SafetensorError, KeyError, RuntimeError, TypeError)


@final
class ZooSection(Record):
    """The part of a config.json that the zoo reads, under the key `zoo`."""

    format: Literal[2] = Field(description="raised when an older zoo could not read it")
    weight: StoredWeight


@final
class _Config(BaseModel):
    """A config.json; its other keys are timm's."""

    zoo: ZooSection


def write_config(weight: StoredWeight, cfg: Mapping[str, Any], num_features: int) -> bytes:
    """Serialise a config.json: timm's keys at the top, out of a model's `pretrained_cfg`, ours under `zoo`."""
    timm = {key: value for key, value in cfg.items() if key not in ("architecture", "source", "label_names")}
    content = {
        "architecture": weight.variant,
        "num_classes": weight.num_classes,
        "num_features": num_features,
        "label_names": list(weight.labels),
        "model_args": {"in_chans": weight.in_chans, **_option_arguments(weight.spec.get("options", {}))},
        "pretrained_cfg": timm,
        "zoo": ZooSection(format=2, weight=weight).model_dump(mode="json"),
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _option_arguments(options: Options) -> dict[str, Any]:
    """Return the options of a spec as keyword arguments of `create_model`."""
    components = {f"{kind}_options": dict(values) for kind, values in options.items() if kind != "family"}
    return components | dict(options.get("family", {}))


def read_config(data: bytes, origin: str) -> StoredWeight:
    """Read the stored weight of a config.json; raises `WeightError`, which names `origin`, for any other content."""
    try:
        return _Config.model_validate_json(data).zoo.weight
    except ValidationError as error:
        raise WeightError(
            f"{origin}: {CONFIG} is not one that `zoo publish` or `zoo train` writes today: {complaints(error)}; "
            "if a newer one wrote it, update with: pip install --upgrade has8-zoo"
        ) from error


def read_folder(folder: Path) -> StoredWeight:
    """Read the stored weight of a folder; raises `WeightError` if it holds none."""
    if _is_unfinished(folder):
        how = f"continue it: zoo train --resume --out {folder}"
        if not isfile(folder / LATEST / CONFIG):
            raise WeightError(f"{folder} holds an unfinished run, without a whole epoch yet; {how}")
        problem = f"{folder} holds an unfinished run: this is its network after the last whole epoch; {how}"
        warnings.warn(problem, UnfinishedWarning, stacklevel=2)
    return read_config(_read_file(_place(folder) / CONFIG, MAX_CONFIG_BYTES, NO_MODEL), f"local-dir:{folder}")


def _is_unfinished(folder: Path) -> bool:
    return isfile(folder / RUN) and not isfile(folder / CONFIG)


def _place(folder: Path) -> Path:
    """Return where the network of a folder lies."""
    return folder / LATEST if _is_unfinished(folder) else folder


def _read_file(file: Path, limit: int, advice: str) -> bytes:
    """Read a file of at most so many bytes; raises `WeightError`."""
    try:
        size = file.stat().st_size
        data = file.read_bytes() if size <= limit else b""
    except (OSError, ValueError) as error:  # a ValueError for a path that cannot exist
        raise WeightError(f"{file} cannot be read ({getattr(error, 'strerror', error)}); {advice}") from error
    if size > limit:
        raise WeightError(f"{file} has {size:,} bytes; valid: up to {limit:,}; {advice}")
    return data


def read_weight(weight: StoredWeight, source: Source, hub: Hub | None = None) -> bytes:
    """Read the bytes of a checkpoint, exactly those that its record names.

    Raises:
        WeightError: missing, or not the recorded bytes.
        HubError: the Hub cannot be reached, or refuses.
    """
    if isinstance(source, HubRepository):
        from zoo.weights.hub import Hub  # the Hub's client is imported when something comes from there

        data = (hub or Hub()).fetch(source, MODEL, weight.size, weight.sha256)
    elif isinstance(source, LocalFolder):
        data = _read_file(_place(source.path) / MODEL, weight.size, f"publish or copy {source.path} again")
    else:
        try:
            file = package_file(source.module, source.path)
        except ModuleNotFoundError as error:
            raise WeightError(f"{weight.name} lies in package {source.module!r}; install it ({error})") from error
        data = _read_file(file, weight.size, f"reinstall the package {source.module!r}")
    digest = hashlib.sha256(data).hexdigest()
    if (len(data), digest) != (weight.size, weight.sha256):
        raise WeightError(
            f"{weight.name}: {source} is not the published file: {len(data)} bytes, sha256 {digest[:12]}…, "
            f"expected {weight.size} bytes, sha256 {weight.sha256[:12]}…; install, publish or copy it again"
        )
    return data


def parse_weight(data: bytes, name: str) -> dict[str, Tensor]:
    """Read the tensors of verified bytes; raises `WeightError` if they are not a safetensors file."""
    try:
        return load_bytes(data)
    except _UNREADABLE as error:
        raise WeightError(f"{name}: not a safetensors file: {_reason(error)}") from error


def match_branches(state: Mapping[str, Tensor], model: ImageClassifier) -> dict[str, Tensor]:
    """Rename tensors that the model, which may be on the meta device, has in its other branch, as a twin's."""
    own = model.state_dict().keys()

    def rename(key: str) -> str:
        names = (key, branch_key(key, "spiking"), branch_key(key, "analog"))
        return next((name for name in names if name in own), key)

    return {rename(key): value for key, value in state.items()}


def read_plain_file(file: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file that no catalog knows; a pickle is never opened.

    Raises:
        WeightError: missing, or not a safetensors file; it says how to convert a pickle.
    """
    try:
        return load_file(file)
    except _UNREADABLE as error:
        safe = str(Path(file).with_suffix(".safetensors"))
        raise WeightError(
            f"{file} is not a safetensors file ({_reason(error)}); a pickle can hold code. Write its tensors once: "
            f"safetensors.torch.save_file(torch.load({str(file)!r}, weights_only=True), {safe!r}), "
            "or see `zoo convert --help` for other networks"
        ) from error
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


def load(model: ImageClassifier, state: Mapping[str, Tensor], place: str, num_classes: int, in_chans: int) -> None:
    """Load the tensors of a network of `num_classes` and `in_chans` into a model of its variant.

    If the model has another number of classes, its last layer keeps its own values; if it has other channels, the first
    convolutions are adapted. Otherwise a key or shape that differs, or a value that is not finite, is a `WeightError`
    that names `place` and the key.
    """
    own = model.state_dict()
    if any(value.is_meta for value in (*own.values(), *state.values())):
        raise WeightError(f"{place}: the meta device holds no values; build on 'cpu', or with pretrained=False")
    adapted = dict(state)
    if model.num_classes != num_classes:
        _keep_own_head(adapted, own, model.classifier_names)
    if model.in_chans != in_chans:
        _adapt_first_layers(adapted, model)
    check_fit(adapted, model, place)
    _check_finite(place, state, own)
    model.load_state_dict(adapted, strict=True)


def _keep_own_head(state: dict[str, Tensor], own: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """Take the network's own last layers instead of the stored ones."""
    for key in (f"{name}.{part}" for name in names for part in ("weight", "bias")):
        state.pop(key, None)
        if key in own:
            state[key] = own[key]


def _adapt_first_layers(state: dict[str, Tensor], model: ImageClassifier) -> None:
    for key in (f"{name}.weight" for name in model.first_conv_names):
        if key in state:  # `check_fit` names a missing one
            state[key] = adapt_channels(state[key], model.in_chans)


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
    """Raise `WeightError` for the first tensor with a value that is not finite in the model's type."""
    for key, value in state.items():
        dtype = own.get(key, value).dtype
        if value.is_floating_point() and not value.to(dtype).isfinite().all():
            problem = f"{place}: {key} holds NaN, infinity, or more than {dtype} can"
            raise WeightError(f"{problem}; take an earlier checkpoint, or load it in another dtype")


def count_classes(described: ImageClassifier, state: Mapping[str, Tensor], place: str) -> tuple[int, int]:
    """Read classes and channels off the shapes of tensors of a network like `described`; raises `WeightError`."""
    counts = []
    for name, axis in ((described.classifier_names[-1], 0), (described.first_conv_names[0], 1)):
        tensor = state.get(f"{name}.weight")
        if tensor is None or tensor.dim() <= axis:
            raise WeightError(f"{place} holds no {name}.weight; it is not a checkpoint of {described.spec.untagged()}")
        counts.append(tensor.shape[axis])
    return counts[0], counts[1]


def describe_preprocessing(preprocessing: Preprocessing, in_chans: int) -> dict[str, Any]:
    """Describe how images are prepared in timm's words; `build_preprocessing` reads them."""
    mean, std = preprocessing.of_channels(in_chans)
    return {
        "fixed_input_size": False,
        "input_size": (in_chans, preprocessing.size, preprocessing.size),
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop,
        "mean": mean,
        "std": std,
    }


def describe_layers(model: ImageClassifier) -> dict[str, Any]:
    """Name the layers whose shapes depend on classes and channels."""
    named = (("classifier", model.classifier_names), ("first_conv", model.first_conv_names))
    return {key: names[0] if len(names) == 1 else names for key, names in named}


def labels_of(model: ImageClassifier) -> tuple[str, ...]:
    """Return a name for every class: those of the model's weight, or `class 0`, …."""
    known = model.pretrained_cfg.get("label_names") or ()
    return tuple(map(str, known)) if len(known) == model.num_classes else default_labels(model.num_classes)


def default_labels(count: int) -> tuple[str, ...]:
    """Return labels of classes without names."""
    return tuple(f"class {index}" for index in range(count))


def stated_preprocessing(model: ImageClassifier, image_size: int | None = None) -> Preprocessing:
    """Return how images are prepared for a model, as its `pretrained_cfg` states it; `image_size` replaces that one.

    Without a weight the image size is 224, or the smallest that the model takes.
    """
    unstated = describe_preprocessing(Preprocessing(size=DEFAULT_IMAGE_SIZE), model.in_chans)
    cfg = unstated | model.pretrained_cfg
    size = max(int(cfg["input_size"][-1]), model.min_image_size)
    return build_preprocessing(size, cfg).at(image_size)


def build_preprocessing(size: int, facts: Mapping[str, Any]) -> Preprocessing:
    """Build Preprocessing from facts that a publisher or timm states, one number for channels that are all alike."""
    return Preprocessing(
        size=size,
        interpolation=facts["interpolation"],
        crop_pct=facts["crop_pct"],
        mean=_collapse_equal(facts["mean"]),
        std=_collapse_equal(facts["std"]),
    )


def _collapse_equal(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(values[:1]) if len(set(values)) == 1 else tuple(values)
