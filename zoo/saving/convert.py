"""Foreign checkpoints → weights of the zoo: read without running code, renamed by a plugin, checked, written.

A converter (entry-point group `zoo.converters`) sees tensors alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from zoo.catalog.schema import Conversion
from zoo.composition import build_model, parse_name
from zoo.contracts.converter import Converted, Converter, Stated
from zoo.contracts.sizes import SMALL_IMAGE_SIZE
from zoo.errors import BrokenComponentError, ModelNameError, OptionError, WeightError, ZooError, suggest
from zoo.names import Spec
from zoo.registry.component import Component
from zoo.registry.registry import Registry, default_registry
from zoo.saving.checkpoint_file import Checkpoint, open_checkpoint, read_state
from zoo.saving.folder import ModelFolder, check_new_folder, make_folder
from zoo.saving.record import NOT_STATED, Statement
from zoo.weights import HubAccess
from zoo.weights.pack import pack
from zoo.weights.pretrained_cfg import default_labels

__all__ = ["TAG", "ConvertedFolder", "check_converted", "convert", "convert_checkpoint", "make_converted", "read_state"]

TAG = "converted"


@final
@dataclass(frozen=True)
class ConvertedFolder:
    """A checkpoint in the zoo's terms, and the folder that is written of it."""

    converted: Converted
    folder: ModelFolder


def convert(
    converter: str,
    checkpoint: Path | str,
    out: Path,
    *,
    image_size: int | None = None,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
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
        endpoint, cache_dir, token: of the Hub, as for `create_model`.
        registry: components to use; the installed ones by default.
        **options: of the converter, such as `encoder` and `decoder`.

    Returns:
        What was written; `note` is for the user to read.

    Raises:
        UnknownComponentError, ComponentError: nobody offers that converter, or it is broken, also in what it does.
        OptionError: it has no such option.
        WeightError: the file cannot be read without running code, or is not a checkpoint of that kind.
        InputError: an option has a value that it cannot have, or the publisher has no such checkpoint.
        HubError: the Hub cannot be reached, or refuses.
        ModelNameError, CompositionError: the options make no model.
        SaveError: `out` exists, or cannot be written; the checkpoint holds NaN. Nothing half-written remains.
    """
    check_new_folder(out)
    access = HubAccess(endpoint, cache_dir, token)
    made = convert_checkpoint(converter, checkpoint, access, image_size=image_size, registry=registry, options=options)
    made.folder.write(out)
    return made.converted


def convert_checkpoint(
    converter: str,
    checkpoint: Path | str,
    access: HubAccess | None = None,
    *,
    image_size: int | None = None,
    registry: Registry | None = None,
    options: Mapping[str, str] | None = None,
) -> ConvertedFolder:
    """The same without writing anything; takes and raises as `convert` does."""
    registry = registry or default_registry()
    component = registry.find("converter", converter)
    with _blamed(component, str(checkpoint)):
        made = _construct(component, options or {})
        named = isinstance(checkpoint, str) and not Path(checkpoint).is_file()
        located = made.locate(str(checkpoint)) if named else None
    opened = open_checkpoint(checkpoint, located, access or HubAccess())
    with _blamed(component, opened.origin):
        converted, stated = _run(component, made, opened)
    spec = check_converted(converted, registry)
    converted = replace(converted, note=" ".join(filter(None, (converted.note, stated.note))))
    folder = make_converted(converted, spec, image_size, opened.origin, registry, stated=stated, file=opened.file)
    return ConvertedFolder(converted, folder)


def _construct(component: Component, options: Mapping[str, str]) -> Converter:
    kind = component.load()
    unknown = sorted(options.keys() - kind.options)
    if unknown:
        raise OptionError(
            f"converter {component.name!r} has no option {unknown[0]!r}{suggest(unknown[0], kind.options)}"
        )
    made: Converter = kind(**options)
    return made


def _run(component: Component, converter: Converter, checkpoint: Checkpoint) -> tuple[Converted, Stated]:
    """What the converter makes of the tensors, and what it knows beside them."""
    try:
        for called in checkpoint.called:
            converter.check_name(called)
        converted = converter.convert(checkpoint.state)
        _check_type(component, converted, Converted)
        stated = converter.describe(converted, checkpoint.name)
        _check_type(component, stated, Stated)
    except WeightError as error:
        raise WeightError(f"{checkpoint.origin} cannot be converted by {component.name!r}: {error}") from error
    return converted, stated


@contextmanager
def _blamed(component: Component, origin: str) -> Iterator[None]:
    """Whatever a plugin raises, but for the zoo's own errors, is its own defect."""
    try:
        yield
    except ZooError:
        raise
    except Exception as error:
        said = f"fails on {origin} with {type(error).__name__}: {error}"
        raise BrokenComponentError(f"converter {component.name!r} of {component.origin} {said}") from error


def _check_type(component: Component, given: object, due: type[object]) -> None:
    if not isinstance(given, due):
        said = f"gives {type(given).__name__}, where zoo.contracts.converter.{due.__name__} is due"
        raise BrokenComponentError(f"converter {component.name!r} of {component.origin} {said}")


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
    converted: Converted,
    spec: Spec,
    image_size: int | None,
    origin: str,
    registry: Registry | None = None,
    *,
    stated: Stated | None = None,
    file: Conversion | None = None,
) -> ModelFolder:
    """The folder of a converted checkpoint, without a card: what a card says is not known.

    Raises:
        SaveError: the tensors hold NaN or infinity.
        WeightError: they cannot be stored.
    """
    stated = stated or Stated()
    statement = Statement(
        license=stated.license or NOT_STATED,
        labels=stated.labels or default_labels(converted.num_classes),
        image_size=image_size or stated.image_size or SMALL_IMAGE_SIZE,
        dataset=stated.dataset or NOT_STATED,
        dataset_note=converted.note,
        recipe="converted",
        interpolation=stated.interpolation,
        crop_pct=stated.crop_pct,
        mean=stated.mean,
        std=stated.std,
        converted=file,
    )
    return make_folder(str(spec.tagged(TAG)), pack(converted.state, spec), origin, statement, registry)
