"""Save networks (`zoo.save`) and foreign checkpoints (`convert`) as folders that load."""

from __future__ import annotations

import hashlib
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import isfile
from pathlib import Path
from typing import Any, final

import torch
from pydantic import ValidationError
from torch import Tensor

from zoo import weights
from zoo.catalog import Conversion, Figures, StoredWeight, complaints
from zoo.contents import Recorded
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.converter import Converted, HubFile, Stated
from zoo.contracts.family import MAX_IMAGE_SIZE, SMALL_IMAGE_SIZE
from zoo.errors import (
    CountingError,
    ModelNameError,
    OptionError,
    SaveError,
    WeightError,
    ZooWarning,
    check_count,
    shorten,
    suggest,
)
from zoo.factory import build_model, describe_model
from zoo.files import replace_files, write_folder
from zoo.hub import Hub
from zoo.names import TAG, HubRepository, LocalFolder, Options, check_repository, check_revision
from zoo.profiling.macs import blank_image, count_cost
from zoo.registry import NOTEBOOK, Registry, default_registry, parse_name, providers_of

NOT_STATED = "not stated"  # stands in a record for what its owner has not said
DEFAULT_TAG = "saved"
MAX_DOWNLOAD = 1 << 30  # bytes of a checkpoint: twice as much as a ResNet-152 in double precision

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
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except (OSError, ValueError) as error:
        raise SaveError(f"{path} cannot be written: {error}") from error
    if taken:
        raise SaveError(f"{path} is a file or not empty; name a folder that is empty or does not exist yet")


def make_config(model: ImageClassifier, weight: StoredWeight) -> bytes:
    """Serialise the config.json of a weight that is in this model."""
    cfg = Recorded(weight, LocalFolder(Path())).describe_in(model)
    return weights.write_config(weight, cfg, model.num_features)


def restate(weight: StoredWeight, stated: Mapping[str, str]) -> StoredWeight:
    """Return the record with what its owner says at publishing, field → text; raises `SaveError`."""
    return _validated(weight.model_dump() | dict(stated), weight.name)


def measure(model: ImageClassifier, image_size: int) -> Figures:
    """Count the figures of a record on this model; where fvcore cannot, MACs are left out with a warning."""
    size = check_count("image_size", image_size, 1, MAX_IMAGE_SIZE)
    try:
        cost = count_cost(model, size)
    except CountingError as error:
        model.check_image(blank_image(model, size))
        warnings.warn(f"{error}; the record has no MACs", ZooWarning, stacklevel=2)
        params = sum(parameter.numel() for parameter in model.parameters())
        return Figures(params=params, image_size=size, timesteps=model.timesteps, macs=None, macs_per_timestep=None)
    return Figures.model_validate({name: getattr(cost, name) for name in Figures.model_fields})


def without_folders(text: str) -> str:
    """Shorten paths in a text to their last part, `/home/ann/photos` to `photos`: a card is read on other machines."""
    return re.sub(r"(?<!\S)(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^/\\:;,]+[/\\])*([^/\\:;,]+)", r"\1", text)


def check_tag(tag: str) -> str:
    """Return `tag` if a weight may have it; raises `ModelNameError`."""
    if not TAG.fullmatch(tag):
        raise ModelNameError(f"tag {shorten(tag)} is not valid; lower-case letters and digits, then '-' and '_' too")
    return tag


def make_folder(
    name: str, data: bytes, origin: str, registry: Registry | None = None, options: Options | None = None, **stated: Any
) -> ModelFolder:
    """Make a folder that loads, without a card, of `variant.tag` and the bytes of its model.safetensors.

    `stated` are fields of `StoredWeight` that cannot be counted: `license`, `labels`, `preprocessing`, `dataset`, ….
    Errors call the bytes `origin`: `SaveError`, `WeightError` and `ModelNameError`, as of `save`.
    """
    spec = parse_name(name, registry).with_options(options or {})
    if spec.tag is None:
        raise SaveError(f"{name} needs a tag that names these weights, as in {name}.mine")
    state = weights.parse_weight(data, origin)
    classes, channels = weights.count_classes(describe_model(spec, registry=registry), state, origin)
    with torch.random.fork_rng(devices=[]):
        model = build_model(spec, classes, channels, registry)
    weights.load(model, state, origin, classes, channels)
    return fold_built(model, data, origin, registry, **stated)


def fold_built(
    model: ImageClassifier, data: bytes, origin: str, registry: Registry | None = None, **stated: Any
) -> ModelFolder:
    """Make the folder of a network and its packed weights; other arguments and errors are those of `make_folder`."""
    spec = model.spec
    if len(stated["labels"]) != model.num_classes:
        raise SaveError(f"{origin} has {model.num_classes} classes, but {len(stated['labels'])} labels were given")
    # What was registered in this process has no distribution that could be named; publishing refuses it.
    providers = (each for each in providers_of(spec, registry) if each.distribution != NOTEBOOK)
    content: dict[str, Any] = {
        "recipe": "",
        "metrics": {},
        **_UNSTATED,
        **stated,
        "variant": spec.text,
        "tag": spec.tag,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "in_chans": model.in_chans,
        "spec": spec.untagged().to_json(),
        "providers": {each.distribution: str(each.version) for each in providers},
        "figures": measure(model, dict(stated["preprocessing"])["size"]),
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
        labels: a name for every class; None for those of the weight that the network was built with, if it has as many
            classes, else `class 0`, `class 1`, ….
        license: of the weights; `zoo publish` asks for one.
        dataset: what the network was trained on.
        metrics: `top1` and the like, in percent, measured on unseen images.
        tag: of the weights, in the name `variant.tag`: lower-case letters and digits, after the first '-' and '_' too.
        image_size: pixels a side that it was trained with; None for those of the weight that it was built with, or 224.
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
    stated: dict[str, Any] = {"license": license, "dataset": dataset, "metrics": dict(metrics or {})}
    made = describe_saved(model, labels, tag, image_size, registry, **stated)
    made.write(Path(folder), overwrite=overwrite)
    return made.weight


def describe_saved(
    model: ImageClassifier,
    labels: Sequence[str] | None = None,
    tag: str = DEFAULT_TAG,
    image_size: int | None = None,
    registry: Registry | None = None,
    **stated: Any,
) -> ModelFolder:
    """Make the folder that `save` writes of a network that it rebuilds; takes and raises as `save` does."""
    if not isinstance(model, ImageClassifier):
        raise OptionError(f"save takes a network of the zoo, not {type(model).__name__}; build one by create_model")
    origin, state = str(model.spec), model.state_dict()
    if not model.num_classes:
        raise SaveError(f"{origin} has no classes; give it a last layer by reset_classifier(n), then save it")
    if any(value.is_meta for value in state.values()):
        raise SaveError(f"{origin} is on the meta device, which holds no values; build it on 'cpu'")
    preprocessing = weights.stated_preprocessing(model).model_dump()
    try:
        return make_folder(
            f"{model.spec.untagged()}.{check_tag(tag)}",
            weights.pack(state, model.spec),
            origin,
            registry,
            model.spec.options,
            labels=list(weights.labels_of(model) if labels is None else labels),
            preprocessing=preprocessing if image_size is None else preprocessing | {"size": image_size},
            **stated,
        )
    except WeightError as error:
        said = "would not load again; save finite weights, before fuse(), pruning, or an exchange of layers"
        raise SaveError(f"{origin} {said} ({error})") from error


def convert(
    converter: str,
    checkpoint: Path | str,
    out: Path,
    *,
    image_size: int | None = None,
    registry: Registry | None = None,
    **options: str,
) -> Converted:
    """Write a foreign checkpoint as a folder of the zoo, which `create_model("local-dir:…")` loads.

    What its publisher does not state of labels, data and licence is written as not stated, so that `zoo publish` asks
    for it. The record names the file and its sha256.

    Args:
        converter: the name of an installed converter, such as `timm`.
        checkpoint: a file of `torch.save` (a state dict, or one under `state_dict` or `model`), or .safetensors; or
            what the publisher calls it, such as `resnet18.a1_in1k` of timm's, which is downloaded.
        out: a folder that is empty or does not exist yet.
        image_size: pixels a side that it was trained with; None for what the publisher states, or 32.
        registry: components to use; the installed ones by default.
        **options: of the converter, such as `encoder` and `decoder`.

    Raises:
        UnknownComponentError, ComponentError: no such converter, or it cannot be imported.
        OptionError, InputError, ModelNameError, CompositionError: the options, or their values, make no model.
        WeightError, HubError: the checkpoint cannot be read without running code, is of another kind, or not found.
        SaveError: `out` exists, or cannot be written. Nothing half-written remains.
    """
    check_new_folder(out)
    registry = registry or default_registry()
    kind = registry.load("converter", converter)
    for option in sorted(options.keys() - kind.options):
        raise OptionError(f"converter {converter!r} has no option {option!r}{suggest(option, kind.options)}")
    path, made = Path(checkpoint), kind(**options)
    located = None if isfile(path) else made.locate(str(checkpoint))
    if located is None:
        state, arch = read_foreign(path)
        origin, called, name = str(path), [path.stem, *([arch] if arch else ())], ""
        file = Conversion(name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    else:
        origin, state, file = _download(located)
        called, name = [str(checkpoint)], str(checkpoint)
    try:
        for each in called:
            made.check_name(each)
        converted = made.convert(state)
        stated = made.describe(converted, name)
    except WeightError as error:
        raise WeightError(f"{origin} cannot be converted by {converter!r}: {error}") from error
    converted = replace(converted, note=" ".join(filter(None, (converted.note, stated.note))))
    fold_converted(converted, origin, registry, image_size, stated, file).write(out)
    return converted


def fold_converted(
    converted: Converted,
    origin: str,
    registry: Registry | None = None,
    image_size: int | None = None,
    stated: Stated | None = None,
    file: Conversion | None = None,
) -> ModelFolder:
    """Make the folder of a converted checkpoint, whose state is exactly its model's: every key and every shape."""
    stated = stated or Stated()
    spec = parse_name(converted.spec_name, registry)
    if spec.tag is not None:
        raise ModelNameError(f"{converted.spec_name} has a tag, but weights get theirs when they are published")
    described = describe_model(spec, converted.num_classes, converted.in_chans, registry)
    weights.check_fit(converted.state, described, f"the checkpoint {origin}")
    mean, std = (v if len(v) == converted.in_chans else (sum(v) / len(v),) for v in (stated.mean, stated.std))
    return make_folder(
        str(spec.tagged("converted")),
        weights.pack(converted.state, spec),
        origin,
        registry,
        license=stated.license or NOT_STATED,
        labels=list(stated.labels or weights.default_labels(converted.num_classes)),
        preprocessing={
            "size": (stated.image_size or SMALL_IMAGE_SIZE) if image_size is None else image_size,
            "interpolation": stated.interpolation,
            "crop_pct": stated.crop_pct,
            "mean": mean,
            "std": std,
        },
        dataset=stated.dataset or NOT_STATED,
        dataset_note=converted.note,
        recipe="converted",
        converted=file,
    )


def _download(file: HubFile) -> tuple[str, dict[str, Tensor], Conversion]:
    hub, revision = Hub(), None if file.revision is None else check_revision(file.revision)
    pinned = hub.pin(HubRepository(check_repository(file.repo_id), revision))
    data = hub.fetch(pinned, file.filename, MAX_DOWNLOAD)
    origin = f"{file.filename} of {pinned}"
    record = Conversion(name=f"{pinned}/{file.filename}", sha256=hashlib.sha256(data).hexdigest())
    return origin, weights.parse_weight(data, origin), record


def read_foreign(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a checkpoint of other code, without running any code in it.

    Returns:
        Its tensors by key, without a common `module.` prefix: a state dict, or the one under `state_dict` or `model`.
        And the name of the network, which timm's and torchvision's training scripts keep under `arch`, or ''.

    Raises:
        WeightError: no such file, unreadable, holding anything but tensors, or needing code to be read.
    """
    read = _read_content(path)
    content = read if isinstance(read, Mapping) else {}
    nested = (content[entry] for entry in ("state_dict", "model") if isinstance(content.get(entry), Mapping))
    state = next(nested, content)
    if not state:
        raise WeightError(f"{path} holds no state dict; save model.state_dict(), convert that")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            raise WeightError(
                f"{path} is not a state dict: its entry {key!r} is {type(value).__name__}; valid: dense tensors "
                "alone, or such a dict under 'state_dict' or 'model'"
            )
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(prefix): value.detach() for key, value in state.items()}, str(content.get("arch", ""))


def _read_content(path: Path) -> Any:
    if not isfile(path):
        raise WeightError(f"{shorten(str(path), 200)} is not a file; name a checkpoint (.pt, .pth, .safetensors)")
    if path.suffix == ".safetensors":
        return weights.read_plain_file(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
            # Training scripts save the arguments of their command line beside the tensors: a Namespace holds values.
            warnings.simplefilter("ignore")  # of other pickle protocols and of TorchScript, which both end below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted reader raise anything at all
        asked = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))  # of torch's restricted reader
        reason = f"it asks for {asked[1]}" if asked else type(error).__name__
        raise WeightError(
            f"{path} is damaged, or needs code to be run, which the zoo refuses ({reason}); "
            "on the machine that wrote it, save the tensors alone: torch.save(model.state_dict(), path)"
        ) from error
