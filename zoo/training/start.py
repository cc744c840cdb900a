"""The network that a run starts from: freshly initialised, a weight with a new head, or a control's layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.errors import InputError
from zoo.factory import OpenedModel, open_model
from zoo.families.thresholds import calibrate
from zoo.profiling.counting import branch_of
from zoo.weights import stated_preprocessing


@final
@dataclass(frozen=True)
class Start:
    """A network before its first step.

    Attributes:
        model: the network.
        notes: for the reader.
        name: of the weight that it started from, `variant.tag`; '' for none.
        sha256: of that weight.
        control: the same name if it is a weight of the network without spikes; '' for none.
    """

    model: ImageClassifier
    notes: tuple[str, ...] = ()
    name: str = ""
    sha256: str = ""
    control: str = ""


def build(opened: OpenedModel, classes: Sequence[str], seed: int, control: OpenedModel | None = None) -> Start:
    """Build the network for these classes: freshly initialised, the weight's body with a new head, or from a control.

    The head is kept if the classes are the weight's own, in its order. Of a weight of the network without spikes, the
    analog branches and the head are taken, or all layers if both networks have the same.

    Raises:
        InputError: `control` is not a weight of the network without spikes, or `opened` is a weight itself.
    """
    torch.manual_seed(seed)
    if not opened.weight_name:
        model = opened.build(num_classes=len(classes), in_chans=3)
        return Start(model) if control is None else _take_over(model, control, classes, seed)
    if control is not None:
        raise InputError(f"{opened.weight_name} is a weight already, and --control is for networks that start afresh")
    model = opened.build(pretrained=True, num_classes=len(classes), in_chans=3)
    head = "its head"
    if opened.labels != tuple(classes):
        head = f"a new head for {len(classes)} classes"
        if len(opened.labels) == len(classes):
            model.reset_classifier(len(classes))
    digest = opened.weight.sha256 if opened.weight else str(model.pretrained_cfg["sha256"])
    return Start(model, (f"starts from {opened.weight_name} with {head}",), opened.weight_name, digest)


def _take_over(model: ImageClassifier, control: OpenedModel, classes: Sequence[str], seed: int) -> Start:
    """Replace the network's tensors by those of its control's weight, by name."""
    begun = build(control, classes, seed)
    if not begun.name:
        raise InputError(f"{control.spec} has no weight to start from; name one with its tag, or as local-dir:DIR")
    own, theirs = model.state_dict(), begun.model.state_dict()
    # A network of spikes alone has spiking layers in the place of the analog ones.
    taken = {key if key in own else key.replace(".analog.", ".spiking."): value for key, value in theirs.items()}
    strange = sorted(key for key, value in taken.items() if key not in own or own[key].shape != value.shape)
    if strange:
        raise InputError(
            f"{control.spec} is not a control of {model.spec}, which has no {strange[0]} of that shape; "
            "the control is named by `zoo profile`"
        )
    model.load_state_dict(own | taken, strict=True)
    model.pretrained_cfg |= {key: begun.model.pretrained_cfg[key] for key in ("mean", "std")}
    beside = model.spiking_module_names and all(branch_of(key, model) == "analog" for key in taken)
    part = "its analog branches and head start" if beside else "its layers start"
    note = begun.notes[0].replace("starts", part)
    return replace(begun, model=model, notes=(note,), control=begun.name)


def find_teacher(name: str | None, opened: OpenedModel, classes: Sequence[str]) -> ImageClassifier | None:
    """Build the weight that a recipe names as teacher, in eval mode; raises `InputError` if it has other classes."""
    if name is None:
        return None
    teacher = open_model(name, **opened.places)
    if teacher.labels != tuple(classes):
        raise InputError(f"the teacher {name} has other classes than the data: {', '.join(teacher.labels[:5])}, …")
    return teacher.build(pretrained=True, in_chans=3).eval().requires_grad_(False)


def calibrate_scales(model: ImageClassifier, data: ImageSplit, images: int) -> None:
    """Set the scales of quantised and spiking activations by so many images, evenly spread over the split."""
    rows = torch.linspace(0, len(data) - 1, min(images, len(data))).long()
    if images and not calibrate(model, Transform(stated_preprocessing(model)).scale(data.read(rows)[0])):
        raise InputError(f"calibration sets scales, and {model.spec} has none; it is for --set-family levels=…")
