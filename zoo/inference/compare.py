"""Models side by side: cost, accuracy and spikes of each, its twin and its control beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor

from zoo.catalog.figures import Figures
from zoo.catalog.records import Preprocessing, StoredWeight
from zoo.data import DataOptions, ImageDataset
from zoo.data.images import Transform
from zoo.data.load import sample_images
from zoo.device import usable_device
from zoo.errors import InputError
from zoo.inference import COMPARED_ON
from zoo.models.factory import DEFAULT_PLACES, OpenedModel, Places, describe_model, open_model
from zoo.profiling import Profile, profile
from zoo.profiling.rivals import open_control, share_data
from zoo.progress import progress


@final
@dataclass(frozen=True)
class ComparedModel:
    """A column of a comparison.

    Attributes:
        name: `variant.tag`, or the variant of an untrained network.
        weights: the source of its weights, in words.
        figures: counted here, and those of images also if there were any; else of the record.
        measured_on: images that top-1 was measured on, in words.
        control: the network without spikes of the same blocks; None if there is none.
        twin: the network without spikes that gives the same logits by the same tensors, its option `levels` in
            brackets; None if there is none.
        num_classes: logits.
    """

    name: str
    weights: str
    figures: Figures
    measured_on: str
    control: str | None
    num_classes: int
    twin: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        about = {name: value for name, value in vars(self).items() if name != "figures"}
        by_model = {"energies": dict(self.figures.energies), "does_not_run": dict(self.figures.does_not_run)}
        return about | self.figures.values() | by_model


def compare_models(
    names: Sequence[str],
    data: str | Path | None = None,
    *,
    data_options: DataOptions | None = None,
    limit: int = COMPARED_ON,
    controls: bool = True,
    device: str = "cpu",
    places: Places = DEFAULT_PLACES,
) -> list[ComparedModel]:
    """Compare cost and accuracy of models, the twin and the control of each behind it.

    Without data the figures of a weight's record are taken: top-1, and those counted when it was recorded. Untrained
    networks are counted at the image size and number of classes of the trained ones, if these have one in common.

    Args:
        names: as for `create_model`; a name without a tag is an untrained network.
        data: images to count spikes and energy on; of frames, a network of still images sees the mean.
        controls: show the twin of each too, and its control: the weight that its record names or the one of its tag,
            trained and prepared alike, else an untrained network. One that is among `names` is shown at its own place.

    Raises:
        ModelNameError, HubError, WeightError: as `create_model` does.
        InputError: no names, a device that this machine lacks, or data that cannot be used.
    """
    if not names:
        raise InputError("there is nothing to compare; name one model or more")
    device = usable_device(device)
    options = data_options or DataOptions()
    models = _with_controls(names, controls, places)
    shapes = {_shape_of(opened) for opened, _ in models} - {None}
    common = shapes.pop() if len(shapes) == 1 else None
    sample = None if data is None else sample_images(data, limit, options)
    rows: list[ComparedModel] = []
    with progress("comparing", len(models)) as advance:
        for opened, hybrid in models:
            shape = _shape_of(opened) or _shape_of(hybrid) or common
            size, classes, channels = shape or (None, None, None)
            preprocessing = opened.preprocessing(options.image_size or size)
            images = None if sample is None else _prepare_images(sample, preprocessing, opened)
            side = preprocessing.size
            counted = profile(opened, side, num_classes=classes, in_chans=channels, images=images, device=device)
            rows += _columns(counted, opened, hybrid, with_twin=controls)
            advance(1)
    return rows


def _shape_of(opened: OpenedModel | None) -> tuple[int, int, int] | None:
    """Return image size, number of classes and channels of its weight; None for an untrained network."""
    if opened is None or not opened.weight_name:
        return None
    return opened.preprocessing().size, opened.origin.num_classes, opened.origin.in_chans


def _with_controls(
    names: Sequence[str], controls: bool, places: Places
) -> list[tuple[OpenedModel, OpenedModel | None]]:
    """List each model once, followed by its control unless one was named itself; a control with its hybrid."""
    asked = {opened.loads: opened for opened in (open_model(name, places).warn_if_left_out() for name in names)}
    pairs = [(opened, open_control(opened) if controls else None) for opened in asked.values()]
    hybrids = {control.loads: opened for opened, control in pairs if control is not None}
    chosen: dict[str, tuple[OpenedModel, OpenedModel | None]] = {}
    for opened, control in pairs:
        chosen[opened.loads] = opened, hybrids.get(opened.loads)
        if control is None:
            continue
        same = [model for model in asked.values() if model.spec.untagged() == control.spec.untagged()]
        if not any(share_data(model.weight, opened.weight) for model in same):
            chosen.setdefault(control.loads, (control, opened))
    return list(chosen.values())


def _prepare_images(sample: ImageDataset, preprocessing: Preprocessing, opened: OpenedModel) -> Iterator[Tensor]:
    """Yield the images as a network takes them; a network of still images sees the mean of frames."""
    prepare = Transform(preprocessing)
    sees_stills = len(describe_model(opened.spec, registry=opened.places.components).input_axes) == 1
    for image, _ in sample:
        x = prepare(image)
        yield x.mean(0) if x.dim() == 4 and sees_stills else x


def _columns(counted: Profile, opened: OpenedModel, hybrid: OpenedModel | None, with_twin: bool) -> list[ComparedModel]:
    """Return a model's column, and its twin's."""
    weight = opened.weight
    column = ComparedModel(
        name=str(opened.spec),
        weights=opened.weights_description,
        figures=_figures(counted, weight, hybrid),
        measured_on=weight.dataset if weight else "",
        control=counted.control.name.partition(".")[0] if counted.control else None,
        num_classes=counted.num_classes,
    )
    if counted.twin is None:
        return [column]
    twin = f"{counted.twin.name} (levels={counted.levels})"
    own = replace(column, twin=twin)
    if not with_twin:
        return [own]
    energies = {model.name: model.twin.total / 1e6 for model in counted.estimates if model.twin}
    if not energies and weight is not None and weight.energy_range is not None:
        energies = dict(weight.energy_range.twin)
    figures = replace(counted.twin.figures, activity=None, energies=energies, top1=column.figures.top1)
    return [own, replace(column, name=twin, weights=f"twin: the tensors of {column.name}", figures=figures)]


def _figures(counted: Profile, weight: StoredWeight | None, hybrid: OpenedModel | None) -> Figures:
    """Return the counted figures of a model, with what only its record says, or the record of its hybrid."""
    if weight is None:
        return counted.figures
    recorded = Figures.of(weight)
    if counted.activity is not None:
        return replace(counted.figures, top1=recorded.top1)
    if weight.energy_range is None and hybrid and hybrid.weight and hybrid.weight.energy_range:
        pairs = hybrid.weight.energy_range.models.items()
        recorded = replace(recorded, energies={model: control for model, (_, control) in pairs})
    return replace(recorded.updated(counted.counts), steps=counted.steps)
