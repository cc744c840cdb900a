"""The network that a run starts from: fresh, a weight with its head or a new one, or its control's weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from zoo.contracts.backbone import FirstLayer
from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.errors import InputError, ModelNameError
from zoo.families.thresholds import calibrate
from zoo.models.factory import OpenedModel, open_model
from zoo.training.recipe import Recipe
from zoo.weights.load import match_branches, stated_preprocessing

FIRST_LAYER_IMAGES = 5000
"""Images from which a new network's first layer is set, if it is one that images set."""


@final
@dataclass(frozen=True)
class Start:
    """A network before its first step.

    Attributes:
        model: the network.
        notes: for the reader.
        name, sha256: of the weight in it; '' for none.
        ancestry: the data and recipe of that weight, in words, and of those before it.
        control: its name, if it is a control's weight.
    """

    model: ImageClassifier
    notes: tuple[str, ...] = ()
    name: str = ""
    sha256: str = ""
    ancestry: str = ""
    control: str = ""


def begin(opened: OpenedModel, data: ImageSplit, recipe: Recipe, tag: str, control: str | None = None) -> Start:
    """Build the network of a run and of the weight that it becomes, with what follows from its images."""
    axes = data.data.axes
    opened = _fit_frames(opened, axes)
    analog = None if control is None else open_model(control, opened.places)
    start = build(opened, data.classes, recipe.seed, analog, axes[-1])
    start.model.check_image(torch.empty(1, *axes, *data.size, device="meta"))
    if not start.name:
        _set_first_layers(start.model, data)
    if recipe.calibration and not calibrate(start.model, _sample_images(start.model, data, recipe.calibration)):
        raise InputError(f"calibration sets scales, and {start.model.spec} has none; it is for the option levels")
    start.model.spec = start.model.spec.tagged(tag)
    return start


def build(
    opened: OpenedModel, classes: Sequence[str], seed: int, control: OpenedModel | None = None, in_chans: int = 3
) -> Start:
    """Build the network for these classes: new, with a checkpoint's body and a new head, or from a control.

    The head is kept if the classes are the checkpoint's own, in its order. Of a checkpoint without spikes, the
    analog branches and the head are taken, or all layers if both networks have the same; of any other weight, or if
    `opened` is a weight itself, it raises `InputError`.
    """
    torch.manual_seed(seed)
    if not opened.weight_name:
        model = opened.build(num_classes=len(classes), in_chans=in_chans)
        return Start(model) if control is None else _load_from_control(model, control, classes, seed)
    if control is not None:
        raise InputError(f"{opened.weight_name} is a weight already, and `control` is for networks that start afresh")
    model = opened.build(pretrained=True, num_classes=len(classes), in_chans=in_chans)
    head = "its head"
    if opened.labels != tuple(classes):
        head = f"a new head for {len(classes)} classes"
        if len(opened.labels) == len(classes):
            model.reset_classifier(len(classes))
    notes = (f"starts from {opened.weight_name} with {head}",)
    if opened.weight is None:
        return Start(model, notes, opened.weight_name, str(model.pretrained_cfg["sha256"]))
    before = opened.weight
    ancestry = f"{before.name} was trained on {before.dataset} by {before.recipe or 'a recipe that is not stated'}"
    return Start(model, notes, before.name, before.sha256, ancestry)


def _load_from_control(model: ImageClassifier, control: OpenedModel, classes: Sequence[str], seed: int) -> Start:
    """Replace the network's tensors by those of its control's weight, by name."""
    begun = build(control, classes, seed, in_chans=model.in_chans)
    if not begun.name:
        raise InputError(f"{control.spec} has no weight to start from; name one with its tag, or as local-dir:DIR")
    own, theirs = model.state_dict(), begun.model.state_dict()
    # A spiking-only network has spiking layers instead of the analog ones.
    mapped = match_branches(theirs, model)
    misfits = sorted(key for key, value in mapped.items() if key not in own or own[key].shape != value.shape)
    if misfits:
        raise InputError(
            f"{control.spec} is not a control of {model.spec}, which has no {misfits[0]} of that shape; "
            "the control is named by `zoo profile`"
        )
    model.load_state_dict(own | mapped, strict=True)
    model.pretrained_cfg |= {key: begun.model.pretrained_cfg[key] for key in ("mean", "std")}
    return replace(begun, model=model, control=begun.name)


def find_teacher(
    name: str | None, opened: OpenedModel, classes: Sequence[str], in_chans: int = 3
) -> ImageClassifier | None:
    """Build the weight that a recipe names as teacher, in eval mode; raises `InputError` if it has other classes."""
    if name is None:
        return None
    teacher = open_model(name, opened.places)
    if teacher.labels != tuple(classes):
        raise InputError(f"the teacher {name} has other classes than the data: {', '.join(teacher.labels[:5])}, …")
    return teacher.build(pretrained=True, in_chans=in_chans).eval().requires_grad_(False)


def _sample_images(model: ImageClassifier, data: ImageSplit, images: int) -> Tensor:
    """Return so many images, evenly spread over the split, as the network takes them."""
    rows = torch.linspace(0, len(data) - 1, min(images, len(data))).long()
    return Transform(stated_preprocessing(model)).scale(data.read(rows)[0])


def _set_first_layers(model: ImageClassifier, data: ImageSplit) -> None:
    """Set the first layers that are set from images, if the network has any."""
    layers = [module for module in model.modules() if isinstance(module, FirstLayer)]
    if layers:
        images = _sample_images(model, data, FIRST_LAYER_IMAGES).flatten(0, -4)  # frames one by one
        for layer in layers:
            layer.set_from(images)


def _fit_frames(opened: OpenedModel, axes: tuple[int, ...]) -> OpenedModel:
    """Give an untrained network of frames as many timesteps as the frames of its data, if no option says otherwise."""
    spec, encoder = opened.spec, opened.spec.get("encoder")
    has_timesteps = any("timesteps" in spec.options.get(kind, {}) for kind in ("family", "encoder"))
    if len(axes) == 1 or has_timesteps or opened.weight_name or encoder not in ("frames", None):
        return opened
    if encoder is None and "timesteps" not in opened.places.components.load("family", spec.family)().options:
        return opened
    return replace(opened, spec=spec.with_options({"encoder" if encoder else "family": {"timesteps": axes[0]}}))


def choose_tag(wanted: str, opened: OpenedModel, is_asked: bool) -> str:
    """Choose the tag of the weight that a run makes: the wanted one, or with a number if an ancestor has it.

    Raises `ModelNameError` for a tag that was asked for and cannot be had.
    """
    ancestors = {opened.weight_name, *(opened.weight.recipe.split() if opened.weight else ())}
    free, number = wanted, 1
    while f"{opened.spec.text}.{free}" in ancestors:
        number += 1
        free = f"{wanted}-{number}"
    if is_asked and free != wanted:
        name = f"{opened.spec.text}.{wanted}"
        raise ModelNameError(f"{name} is what the run starts from, or began with; choose another, such as `tag={free}`")
    return free
