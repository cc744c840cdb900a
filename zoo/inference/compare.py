"""Models side by side: cost, accuracy and spikes of each, its control beside it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack, final

from zoo.catalog import StoredWeight
from zoo.contracts.device import usable_device
from zoo.contracts.sizes import COMPARED_ON
from zoo.data import DataOptions
from zoo.data.images import Transform
from zoo.data.load import sample_images
from zoo.errors import InputError, ZooWarning
from zoo.factory import OpenedModel, Places, open_model
from zoo.installing import missing_weight
from zoo.profiling import profile
from zoo.progress import progress


@final
@dataclass(frozen=True)
class ComparedModel:
    """A column of a comparison.

    Attributes:
        name: `variant.tag`, or the variant of an untrained network.
        weights: the source of its weights, in words.
        params: parameters.
        macs_per_timestep: analog + spiking / T, the paper's convention.
        macs: multiply-accumulates of all T timesteps.
        timesteps: T.
        image_size: pixels a side, of the MACs.
        energy_uj: microjoules an image, arithmetic at 45 nm; None if no images were counted.
        spike_rate: spikes per neuron and timestep; None without neurons, or if no images were counted.
        top1: percent, of the weight's record; None without one.
        measured_on: images that top-1 was measured on, in words.
        control: the network without spikes of the same blocks; None if there is none.
        num_classes: logits.
    """

    name: str
    weights: str
    params: int
    macs_per_timestep: int
    macs: int
    timesteps: int
    image_size: int
    energy_uj: float | None
    spike_rate: float | None
    top1: float | None
    measured_on: str
    control: str | None
    num_classes: int


def compare_models(
    names: Sequence[str],
    data: str | Path | None = None,
    *,
    data_options: DataOptions | None = None,
    limit: int = COMPARED_ON,
    controls: bool = True,
    device: str = "cpu",
    **places: Unpack[Places],
) -> list[ComparedModel]:
    """Compare cost and accuracy of models, the control of each behind it.

    Of frames, a network of still images sees the mean.

    Without data the figures of a weight's record are taken: top-1, and those counted when it was recorded. Untrained
    networks are counted at the image size and number of classes of the trained ones, if these have one in common.

    Args:
        names: as for `create_model`; a name without a tag stands for its first weight, or for an untrained network.
        data: images to count spikes and energy on.
        data_options: for reading the data; of each weight's own image size by default.
        limit: images that spikes and energy are counted on, spread over the classes.
        controls: show the control of each too: the weight that its record names, else one that was trained on the same
            data, else an untrained network. One that is among `names` is shown at its own place.
        device: to compute on, such as `cuda`.
        **places: `endpoint`, `cache_dir`, `token`, `registry` and `catalog`, as for `create_model`.

    Raises:
        ModelNameError, HubError, WeightError: as `create_model` does.
        InputError: no names, a device that this machine lacks, or data that cannot be used.
    """
    if not names:
        raise InputError("there is nothing to compare; name one model or more")
    device = usable_device(device)
    options = data_options or DataOptions()
    models = _with_controls(names, controls, **places)
    shapes = {_shape_of(opened) for opened, _ in models} - {None}
    common = shapes.pop() if len(shapes) == 1 else None
    rows = []
    with progress("comparing", len(models)) as advance:
        for opened, hybrid in models:
            size, *counts = _shape_of(opened) or (hybrid and _shape_of(hybrid)) or common or (None, None, None)
            shape = options.image_size or size, *counts
            rows.append(_compare(opened, data, options, shape, limit, device))
            advance(1)
    return rows


def _shape_of(opened: OpenedModel) -> tuple[int, int, int] | None:
    """Return image size, number of classes and channels of its weight; None for an untrained network."""
    known = opened.known
    return None if known is None else (opened.preprocessing().size, known.num_classes, known.in_chans)


def _with_controls(
    names: Sequence[str], controls: bool, **places: Unpack[Places]
) -> list[tuple[OpenedModel, OpenedModel | None]]:
    """List each model once, followed by its control unless one was named itself; a control with its hybrid."""
    asked = {opened.loads: opened for opened in (open_model(name, listed=True, **places) for name in names)}
    chosen: dict[str, tuple[OpenedModel, OpenedModel | None]] = {}
    for opened in asked.values():
        chosen[opened.loads] = opened, None
        control = _control_of(opened) if controls else None
        if control is None:
            continue
        same = [model for model in asked.values() if model.spec.untagged() == control.spec.untagged()]
        if not any(_share_data(model.weight, opened.weight) for model in same):
            chosen.setdefault(control.loads, (control, opened))
    return list(chosen.values())


def _control_of(opened: OpenedModel) -> OpenedModel | None:
    """Find the control: the weight that the record names, else one of the same data, else untrained; None without."""
    family = opened.registry.load("family", opened.spec.family)()
    variant = family.control(dict(opened.spec.fields))
    if variant is None:
        return None
    untrained, weight = open_model(variant, **opened.places), opened.weight
    listed = opened.catalog.weights_of(untrained.spec) if weight else []
    alike = [record.name for record in listed if weight and _share_data(record, weight)]
    if weight is None or not alike:
        if told := weight and missing_weight(*weight.control.partition(".")[::2]):
            warnings.warn(f"the control is untrained here: {told}", ZooWarning, stacklevel=4)
        return untrained
    return open_model(weight.control if weight.control in alike else alike[0], **opened.places)


def _share_data(one: StoredWeight | None, other: StoredWeight | None) -> bool:
    """Return whether two weights are of the same data; an untrained network fits any."""
    if one is None or other is None:
        return True
    return (one.dataset, one.labels, one.in_chans) == (other.dataset, other.labels, other.in_chans)


def _compare(
    opened: OpenedModel,
    data: str | Path | None,
    options: DataOptions,
    shape: Sequence[int | None],
    limit: int,
    device: str,
) -> ComparedModel:
    weight, (image_size, num_classes, in_chans) = opened.weight, shape
    preprocessing = opened.preprocessing(image_size)
    if data is None:
        counted = profile(opened, preprocessing.size, num_classes=num_classes, in_chans=in_chans, device=device)
        activity = weight.activity if weight else None
        energy, rate = (activity.energy_uj, activity.spike_rate) if activity else (None, None)
    else:
        prepare = Transform(preprocessing)
        images = (prepare(image) for image, _ in sample_images(data, limit, options))
        if opened.spec.get("encoder") != "frames":
            images = (image.mean(0) if image.dim() == 4 else image for image in images)
        counted = profile(opened, num_classes=num_classes, in_chans=in_chans, images=images, device=device)
        energy = None if counted.energy_pj is None else counted.energy_pj / 1e6
        rate = counted.activity.spike_rate if counted.activity else None
    return ComparedModel(
        name=str(opened.spec),
        weights=opened.weights_in_words,
        params=counted.params,
        macs_per_timestep=counted.macs_per_timestep,
        macs=counted.macs,
        timesteps=counted.timesteps,
        image_size=counted.image_size,
        energy_uj=energy,
        spike_rate=rate,
        top1=weight.metrics.get("top1") if weight else None,
        measured_on=weight.dataset if weight else "",
        control=counted.control.name if counted.control else None,
        num_classes=counted.num_classes,
    )
