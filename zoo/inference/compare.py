"""Models side by side: what each costs, how well it classifies, how much it spikes, its control beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, final

from zoo.contracts.device import usable_device
from zoo.contracts.sizes import COMPARED_ON
from zoo.data import DataOptions
from zoo.data.images import Transform
from zoo.data.load import sample_images
from zoo.errors import HubError, InputError, ModelNameError, WeightError
from zoo.factory import OpenedModel, Places, open_model
from zoo.inference.runs import started_from
from zoo.names import LocalFolder
from zoo.profiling import profile
from zoo.progress import progress
from zoo.registry import default_registry
from zoo.weights import RunCheckpoint


@final
@dataclass(frozen=True)
class ComparedModel:
    """A row of a comparison.

    Attributes:
        name: `variant.tag`, or the variant of an untrained network.
        weights: where its weights come from, in words.
        params: parameters.
        macs_per_timestep: analog + spiking / T, the paper's convention.
        macs: multiply-accumulates of all T timesteps.
        timesteps: T.
        image_size: pixels a side, of the MACs.
        energy_uj: microjoules an image, arithmetic at 45 nm; None where no images were counted.
        spike_rate: spikes per neuron and timestep; None without neurons, or where no images were counted.
        top1: percent; None where nobody has measured it.
        measured_on: images that top-1 was measured on, in words.
        control: the network without spikes of the same blocks; None where there is none.
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

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return dict(vars(self))


def compare_models(
    names: Sequence[str],
    data: str | Path | None = None,
    *,
    data_options: DataOptions | None = None,
    limit: int = COMPARED_ON,
    evaluate: bool = False,
    controls: bool = True,
    device: str = "cpu",
    show_progress: bool = False,
    **places: Unpack[Places],
) -> list[ComparedModel]:
    """What each of these models costs and reaches, the control of each behind it.

    Without data the figures of its weight's record are taken: top-1, and what was counted when it was recorded.

    Args:
        names: as for `create_model`; a name without a tag stands for its first weight, or for an untrained network.
        data: images to count spikes and energy on, and with `evaluate` to measure top-1 on.
        data_options: how the data are read; of each weight's own image size by default.
        limit: images that spikes and energy are counted on, spread over the classes.
        evaluate: measure top-1 on the labelled images of `data` that are not for training.
        controls: whether the control of each is shown too: the weight that its record names, else its own first one.
            One that is among `names` is shown where it stands there.
        device: where to compute, such as `cuda`.
        show_progress: show a bar on a terminal.
        **places: `endpoint`, `cache_dir`, `token`, `registry` and `catalog`, as for `create_model`.

    Raises:
        ModelNameError, TagError, HubError, WeightError: as `create_model` does.
        InputError: no names, a device that this machine lacks, or data that cannot be used.
    """
    if not names:
        raise InputError("there is nothing to compare; name one model or more")
    if evaluate and data is None:
        raise InputError("top-1 is measured on data; name a folder, a packed file or a data set")
    device = usable_device(device)
    models = _with_controls(names, controls, **places)
    rows = []
    with progress("comparing", len(models), visible=show_progress) as advance:
        for opened in models:
            rows.append(_compare(opened, data, data_options or DataOptions(), limit, evaluate, device))
            advance(1)
    return rows


def _with_controls(names: Sequence[str], controls: bool, **places: Unpack[Places]) -> list[OpenedModel]:
    """Each model once, and behind it its control, unless that one was named itself."""
    asked = {opened.loads: opened for opened in (open_model(name, listed=True, **places) for name in names)}
    chosen: dict[str, OpenedModel] = {}
    for opened in asked.values():
        chosen[opened.loads] = opened
        control = _control_of(opened) if controls else None
        if control is not None and not _is_among(control, opened, asked.values()):
            chosen.setdefault(control.loads, control)
    return list(chosen.values())


def _is_among(control: OpenedModel, hybrid: OpenedModel, asked: Iterable[OpenedModel]) -> bool:
    """Whether a control was named itself: its very weight, or where no record names one, any of its variant."""
    models, own = list(asked), control.weight
    weights = {model.weight.sha256: model.weight.name for model in models if model.weight}
    if own is not None and own.sha256 in weights:
        return True
    recorded = hybrid.weight.control if hybrid.weight else ""
    if recorded:  # and not at hand, where the control has another name
        return (own is None or own.name != recorded) and recorded in weights.values()
    return control.spec.untagged() in {model.spec.untagged() for model in models}


def _control_of(opened: OpenedModel) -> OpenedModel | None:
    """The weight that the run started from, or the record names, where it is at hand, else the control's first one.

    None where there is no control.
    """
    registry = opened.registry or default_registry()
    variant = registry.load("family", opened.spec.family)().control(dict(opened.spec.fields))
    if variant is None:
        return None
    recorded = opened.weight.control if opened.weight else ""
    if recorded and (begun := _begun_from(opened)):
        return open_model(begun, listed=True, **opened.places)
    try:
        if recorded:
            return open_model(recorded, listed=True, **opened.places)
    except ModelNameError:  # the distribution that lists it is not installed
        pass
    return open_model(variant, listed=True, **opened.places)


def _begun_from(opened: OpenedModel) -> str:
    """What loads the very control that the run in a folder started from; '' where it lies there no more."""
    weight, source = opened.weight, opened.source
    begun = started_from(source.path) if isinstance(source, LocalFolder | RunCheckpoint) else None
    if begun is None or not begun.load or weight is None or weight.control != weight.started_from:
        return ""
    try:
        control = open_model(begun.load, **opened.places).weight
    except (ModelNameError, WeightError, HubError):  # it was moved, or the distribution that lists it is not installed
        return ""
    return begun.load if control is not None and control.sha256 == begun.sha256 else ""


def _compare(
    opened: OpenedModel, data: str | Path | None, options: DataOptions, limit: int, evaluate: bool, device: str
) -> ComparedModel:
    weight = opened.weight
    if data is None:
        counted = profile(opened, opened.preprocessing(options.image_size).size, device=device)
        activity = weight.activity if weight else None
        energy = activity.energy_uj if activity else None
        rate = activity.spike_rate if activity else None
    else:
        prepare = Transform(opened.preprocessing(options.image_size))
        images = (prepare(image) for image, _ in sample_images(data, limit, options))
        counted = profile(opened, images=images, device=device)
        energy = None if counted.energy is None else counted.energy.pj / 1e6
        rate = None if counted.activity is None else counted.activity.spike_rate
    top1, measured_on = (weight.metrics.get("top1"), weight.dataset) if weight else (None, "")
    if evaluate and data is not None and opened.weight_name:
        top1, measured_on = _measure(opened, data, options, device)
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
        top1=top1,
        measured_on=measured_on,
        control=None if counted.control is None else counted.control.name,
    )


def _measure(opened: OpenedModel, data: str | Path, options: DataOptions, device: str) -> tuple[float, str]:
    """Top-1 and the images that it was measured on."""
    from zoo.inference.evaluate import measure_weight  # needs the extra `train`

    places = opened.places
    measured = measure_weight(
        opened.loads,
        data,
        options=options,
        device=device,
        endpoint=places["endpoint"],
        cache_dir=places["cache_dir"],
        token=places["token"],
        registry=places["registry"],
        catalog=places["catalog"],
    )
    return measured.evaluation.top["top1"], measured.data
