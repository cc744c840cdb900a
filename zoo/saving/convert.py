"""Foreign checkpoints → weights of the zoo: read without running code, renamed by a plugin, checked, written.

A converter (entry-point group `zoo.converters`) sees tensors alone.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.composition import build_model, parse_name
from zoo.contracts.converter import Converted
from zoo.errors import BrokenComponentError, ModelNameError, OptionError, WeightError, ZooError, suggest
from zoo.names import Spec
from zoo.registry.registry import Registry, default_registry
from zoo.saving.folder import ModelFolder, check_new_folder, make_folder, pack
from zoo.saving.model import default_labels
from zoo.saving.record import NOT_STATED, Statement
from zoo.weights import read_plain_file

_PREFIX = "module."
_ENTRY = "state_dict"
_FORBIDDEN = re.compile(r"Unsupported global: GLOBAL (\S+)")
"""What torch's restricted reader says of a name that is not on its list."""


TAG = "converted"


def convert(
    converter: str,
    checkpoint: Path,
    out: Path,
    *,
    image_size: int = 32,
    registry: Registry | None = None,
    **options: str,
) -> Converted:
    """Write a foreign checkpoint as a folder of the zoo, which `create_model("local-dir:…")` loads.

    A checkpoint says neither its labels nor its data nor its licence; they are written as not stated, so that
    `zoo publish` asks for them.

    Args:
        converter: the name of an installed converter, such as `has8`.
        checkpoint: a file of `torch.save` (a state dict, or one under `state_dict`), or .safetensors.
        out: a folder that is empty or does not exist yet.
        image_size: pixels a side that it was trained with.
        registry: components to use; the installed ones by default.
        **options: of the converter, such as `encoder` and `decoder`.

    Returns:
        What was written; `note` is for the user to read.

    Raises:
        UnknownComponentError, ComponentError: nobody offers that converter, or it is broken, also in what it does.
        OptionError: it has no such option.
        WeightError: the file cannot be read without running code, or is not a checkpoint of that kind.
        ModelNameError, CompositionError: the options make no model.
        SaveError: `out` exists, or cannot be written; the checkpoint holds NaN. Nothing half-written remains.
    """
    registry = registry or default_registry()
    component = registry.find("converter", converter)
    kind = component.load()
    unknown = sorted(options.keys() - kind.options)
    if unknown:
        raise OptionError(f"converter {converter!r} has no option {unknown[0]!r}{suggest(unknown[0], kind.options)}")
    check_new_folder(out)
    state = read_state(checkpoint)
    try:
        converted = kind(**options).convert(state)
    except WeightError as error:
        raise WeightError(f"{checkpoint} cannot be converted by {converter!r}: {error}") from error
    except ZooError:
        raise
    except Exception as error:  # whatever else a plugin raises is its own defect
        said = f"fails on {checkpoint} with {type(error).__name__}: {error}"
        raise BrokenComponentError(f"converter {converter!r} of {component.origin} {said}") from error
    if not isinstance(converted, Converted):
        said = f"gives {type(converted).__name__}, where zoo.contracts.converter.Converted is due"
        raise BrokenComponentError(f"converter {converter!r} of {component.origin} {said}")
    spec = check_converted(converted, registry)
    make_converted(converted, spec, image_size, str(checkpoint), registry).write(out)
    return converted


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, without a common `module.` prefix; no code in it is ever run.

    Raises:
        WeightError: no such file, unreadable, holding anything but tensors, or needing code to be read.
    """
    if not path.is_file():
        raise WeightError(f"{path} is not a file; name a checkpoint (.pt, .pth, .safetensors)")
    content = read_plain_file(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if isinstance(content, Mapping) and isinstance(content.get(_ENTRY), Mapping):
        content = content[_ENTRY]
    if not isinstance(content, Mapping) or not content:
        raise WeightError(f"{path} holds {_describe(content)}, no state dict; save model.state_dict() and convert that")
    for key, value in content.items():
        if not (isinstance(key, str) and isinstance(value, Tensor) and value.layout is torch.strided):
            raise WeightError(
                f"{path} is not a state dict: its entry {key!r} is {_describe(value)}; valid: tensors alone, "
                f"or such a dict under {_ENTRY!r}"
            )
    prefix = _PREFIX if all(key.startswith(_PREFIX) for key in content) else ""
    return {key.removeprefix(prefix): value.detach() for key, value in content.items()}


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols and of TorchScript, which both end below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted reader raise anything at all
        asked = _FORBIDDEN.search(str(error))
        reason = f"it asks for {asked[1]}" if asked else type(error).__name__
        raise WeightError(
            f"{path} is damaged, or needs code to be run, which the zoo refuses ({reason}); "
            "where it was made, save the tensors alone: torch.save(model.state_dict(), path)"
        ) from error


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor ({value.layout})"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(sorted(map(str, value))[:5]) or 'nothing'}"
    return type(value).__name__


def check_converted(converted: Converted, registry: Registry) -> Spec:
    """The spec, where the state is exactly that model's: every key and every shape.

    Raises:
        ModelNameError, CompositionError: the name is none.
        WeightError: the state is not the model's.
    """
    spec = parse_name(converted.spec_name, registry)
    if spec.tag is not None:
        raise ModelNameError(f"{converted.spec_name} has a tag, but weights get theirs when they are published")
    with torch.device("meta"):
        model = build_model(spec, converted.num_classes, converted.in_chans, registry=registry)
    try:
        model.load_state_dict(dict(converted.state), strict=True, assign=True)
    except RuntimeError as error:
        raise WeightError(f"the checkpoint does not fit {spec}: {error}") from error
    return spec


def make_converted(
    converted: Converted, spec: Spec, image_size: int, origin: str, registry: Registry | None = None
) -> ModelFolder:
    """The folder of a converted checkpoint, without a card: what a card says is not known.

    Raises:
        SaveError: the tensors hold NaN or infinity.
        WeightError: they cannot be stored.
    """
    statement = Statement(
        license=NOT_STATED,
        labels=default_labels(converted.num_classes),
        image_size=image_size,
        dataset=NOT_STATED,
        dataset_note=converted.note,
        recipe="converted",
    )
    return make_folder(str(spec.tagged(TAG)), pack(converted.state, spec), origin, statement, registry)
