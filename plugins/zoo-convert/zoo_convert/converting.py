"""Convert checkpoints of other code into folders that load."""

from __future__ import annotations

import hashlib
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from os.path import isfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo import parse_name
from zoo.commands import Registry, default_registry, models
from zoo.commands.models import NOT_STATED, Conversion, ModelFolder
from zoo.contracts import CheckpointFacts, Converted, HubFile
from zoo.errors import ModelNameError, OptionError, WeightError, shorten, suggest
from zoo.names import HubRepository, check_repository, check_revision

IMAGE_SIZE = 32
"""Pixels a side of the images that a checkpoint was trained on, if nobody says."""
MAX_DOWNLOAD = 1 << 30  # bytes of a checkpoint: twice as much as a ResNet-152 in double precision


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
    models.check_new_folder(out)
    registry = registry or default_registry()
    kind = registry.choose("converter", converter)
    unknown = sorted(options.keys() - kind.options)
    if unknown:
        raise OptionError(f"converter {converter!r} has no option {unknown[0]!r}{suggest(unknown[0], kind.options)}")
    path = Path(checkpoint)
    chosen = kind(**options)
    located = None if isfile(path) else chosen.locate(str(checkpoint))
    if located is None:
        state, arch = read_foreign(path)
        origin = str(path)
        known_as = [path.stem, arch] if arch else [path.stem]
        published_name = ""
        file = Conversion(name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    else:
        origin, state, file = _download(located)
        published_name = str(checkpoint)
        known_as = [published_name]
    try:
        for name in known_as:
            chosen.check_name(name)
        converted = chosen.convert(state)
        facts = chosen.describe(converted, published_name)
    except WeightError as error:
        raise WeightError(f"{origin} cannot be converted by {converter!r}: {error}") from error
    converted = replace(converted, note=" ".join(filter(None, (converted.note, facts.note))))
    make_converted(converted, origin, registry, image_size, facts, file).write(out)
    return converted


def make_converted(
    converted: Converted,
    origin: str,
    registry: Registry | None = None,
    image_size: int | None = None,
    facts: CheckpointFacts | None = None,
    file: Conversion | None = None,
) -> ModelFolder:
    """Make the folder of a converted checkpoint, whose state is exactly its model's: every key and every shape."""
    facts = facts or CheckpointFacts()
    spec = parse_name(converted.spec_name, registry)
    if spec.tag is not None:
        raise ModelNameError(f"{converted.spec_name} has a tag, but weights get theirs when they are published")
    described = models.describe_model(spec, converted.num_classes, converted.in_chans, registry)
    models.check_fit(converted.state, described, f"the checkpoint {origin}")
    mean, std = _of_channels(facts.mean, converted.in_chans), _of_channels(facts.std, converted.in_chans)
    fields = {
        "tag": "converted",
        "license": facts.license or NOT_STATED,
        "labels": list(facts.labels or models.default_labels(converted.num_classes)),
        "preprocessing": {
            "size": (facts.image_size or IMAGE_SIZE) if image_size is None else image_size,
            "interpolation": facts.interpolation,
            "crop_pct": facts.crop_pct,
            "mean": mean,
            "std": std,
        },
        "dataset": facts.dataset or NOT_STATED,
        "dataset_note": converted.note,
        "recipe": "converted",
        "converted": file,
    }
    data = models.pack(converted.state, spec)
    return models.build_folder(models.rebuild(spec, data, origin, registry), data, fields, registry)


def _of_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return a value for each channel, or their mean if the network has another number of them."""
    return values if len(values) == channels else (sum(values) / len(values),)


def _download(file: HubFile) -> tuple[str, dict[str, Tensor], Conversion]:
    hub, revision = models.Hub(), None if file.revision is None else check_revision(file.revision)
    pinned = hub.pin(HubRepository(check_repository(file.repo_id), revision))
    data = hub.fetch(pinned, file.filename, MAX_DOWNLOAD)
    origin = f"{file.filename} of {pinned}"
    record = Conversion(name=f"{pinned}/{file.filename}", sha256=hashlib.sha256(data).hexdigest())
    return origin, models.parse_weight(data, origin), record


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
        return models.read_plain_file(path)
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
