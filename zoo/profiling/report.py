"""`zoo.profile`: the whole cost of a model, beside that of the same network without spikes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain, islice, starmap
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from zoo.catalog.controls import twin_levels
from zoo.catalog.figures import Figures
from zoo.catalog.files import Catalog
from zoo.catalog.records import Activity, EnergyRange, in_digits
from zoo.contracts.classifier import ImageClassifier, branch_key
from zoo.contracts.family import MAX_PROFILED_SIZE
from zoo.device import usable_device
from zoo.errors import InputError, OptionError, check_count
from zoo.families.numbers import in_spikes
from zoo.families.unit_spikes import fold_thresholds, has_thresholds
from zoo.models.factory import UNTRAINED, OpenedModel, Places, open_model
from zoo.models.steps import count_steps
from zoo.models.wrappers import unwrap
from zoo.profiling.arithmetic import FLOAT32
from zoo.profiling.energy import (
    BreakEven,
    Estimate,
    Observation,
    break_even,
    energy_json,
    energy_models,
    estimate_all,
    range_of,
)
from zoo.profiling.macs import (
    Cost,
    Layer,
    blank_image,
    count_cost,
    count_macs,
    count_products,
    list_layers,
)
from zoo.profiling.modules import Inputs, Reset, count_module, estimates_of, layers_of
from zoo.profiling.recorder import OperationCounts, Recorder
from zoo.profiling.rivals import open_control, open_network, twin_of
from zoo.registry.components import Registry
from zoo.weights.load import stated_preprocessing

BATCH_VALUES = 2**24
"""Values of the largest layer, all timesteps, that go through the network at once: 64 MiB in float32."""
MAX_BATCH = 64
OWN, CONTROL, TWIN = "network", "control", "twin"
"""Roles of the networks that are profiled side by side."""


@final
@dataclass(frozen=True)
class Profile(Cost):
    """Whole cost of a model: a `Cost`, its parts, and with images the work that they cause.

    Attributes:
        name: the model's.
        weights: the source of its weights, in words; None without images, which alone need them.
        num_classes: logits; 0 if that is not known, of a module that is no network of the zoo.
        params_analog: of the analog branch, and of what lies in neither.
        params_spiking: of the spiking branch.
        size_bytes: parameters and buffers.
        activations: outputs of convolutions and linear layers for one image, all timesteps.
        product_macs: MACs of convolutions, linear layers and products of matrices alone.
        layers: every layer.
        steps: sequential steps of an image, its latency: see `count_steps`; None if that is not known.
        control: the profile of the network without spikes, by images of the same size; None if there is none.
        twin: the profile of the network without spikes that gives the same logits by the same tensors; None without.
        levels: of the twin's activations.
        activity: spikes and operations; None without images.
        estimates: energy under every energy model; none without images.
    """

    name: str
    weights: str | None
    num_classes: int
    params_analog: int
    params_spiking: int
    size_bytes: int
    activations: int
    product_macs: int
    layers: tuple[Layer, ...]
    steps: int | None = None
    control: Profile | None = None
    twin: Profile | None = None
    levels: int | None = None
    activity: OperationCounts | None = None
    estimates: tuple[Estimate, ...] = ()

    def __repr__(self) -> str:
        """Name, size and the statement; every figure is an attribute, and `to_json` has them all."""
        side = f"{self.image_size}×{self.image_size} pixels"
        about = f"Profile of {self.name}: {self.params:,} parameters, {self.macs:,} MACs at {side}"
        return f"{about}\n{self.statement}".strip()

    @property
    def energy_pj(self) -> float | None:
        """Picojoules of one image by float32 arithmetic at 45 nm, on average; None without images."""
        return None if self.activity is None else FLOAT32.arithmetic(self.activity.total) / self.activity.images

    def to_activity(self, data: str) -> Activity | None:
        """Return what the images have shown, as records and comparisons hold it; None without images."""
        if self.activity is None or self.energy_pj is None:
            return None
        control, work, images = self.control and self.control.energy_pj, self.activity.total, self.activity.images
        figures: dict[str, Any] = {
            "images": images,
            "macs": round(work.macs / images),
            "acs": round(work.acs / images),
            "energy_uj": round(self.energy_pj / 1e6, 4),
            "control_energy_uj": None if control is None else round(control / 1e6, 4),
        }
        rates = {name: getattr(self.activity, name) for name in Activity.titles()}
        figures |= {name: None if rate is None else round(rate, 6) for name, rate in rates.items()}
        return Activity(data=data, **figures)

    @property
    def figures(self) -> Figures:
        """The figures that tables and comparisons show."""
        estimates = self.estimates
        return Figures(
            **self.counts.model_dump(),
            steps=self.steps,
            activity=self.to_activity("counted here"),
            energy_range=self.energy_range,
            additions_per_mac=self.additions_per_mac,
            energies={model.name: model.network.total / 1e6 for model in estimates if model.network},
            does_not_run={model.name: model.refusal for model in estimates if model.refusal},
        )

    @property
    def energy_ratio(self) -> float | None:
        """This model's `energy_pj` over its control's; None without images or a control."""
        theirs = None if self.control is None else self.control.energy_pj
        return None if self.energy_pj is None or theirs is None else self.energy_pj / theirs

    @property
    def statement(self) -> str:
        """A sentence on which costs more, this model or its control: energy with images, else MACs; '' without one.

        Energy is a range, from the lowest ratio to the highest that any energy model gives.
        """
        if self.control is None:
            return ""
        control = f"its control {self.control.name}, which has no spikes"
        if self.energy_range is None or self.energy_ratio is None:
            ratio = self.macs / self.control.macs
            saved = f": {1 - ratio:.0%} less" if ratio < 1 else ""
            return f"{self.name} costs {in_digits(ratio)} times the MACs of {control}{saved}"
        sentence = (
            f"{self.name} costs {self.energy_range.in_words} times the energy of {control}, depending on the "
            f"energy model; {in_digits(self.energy_ratio)} times by 32-bit arithmetic alone"
        )
        if self.twin is None:
            return sentence
        twin = f"its twin {self.twin.name} (levels={self.levels}), which gives the same answers without spikes"
        return f"{sentence}; with zeros skipped on both sides {self.energy_range.twin_in_words} times that of {twin}"

    @property
    def energy_range(self) -> EnergyRange | None:
        """Microjoules of this model and of its control by energy model; None without images or a control."""
        energies = range_of(self.estimates)
        if energies is None or self.control is None:
            return energies
        return energies.model_copy(
            update={
                "steps": self.steps,
                "control_steps": self.control.steps,
                "additions_per_mac": self.additions_per_mac,
            }
        )

    @property
    def spikes_per_activation(self) -> float | None:
        """Spikes that stand for one nonzero activation of the twin, as inputs of layers; None without a twin."""
        return self._over_twin("nonzero")

    @property
    def additions_per_mac(self) -> float | None:
        """Additions that a multiply-accumulate of the twin must cost for spikes to win: the break-even; None without.

        Spikes × weights over nonzero activations × weights: synapses alone.
        """
        return self._over_twin("used")

    @property
    def additions_per_mac_in_all(self) -> float | None:
        """The same break-even with all that is charged, neurons, pooling, coders too, zeros skipped; None without."""
        own, twin = self.activity, None if self.twin is None else self.twin.activity
        if own is None or twin is None:
            return None
        saved = twin.sparse_macs - own.sparse_macs
        return (own.total.acs - twin.total.acs) / saved if saved else None

    def _over_twin(self, count: str) -> float | None:
        """Ratio of the counts of all layers whose inputs are spikes here, and levels in the twin."""
        twin = None if self.twin is None else self.twin.activity
        if self.activity is None or twin is None:
            return None
        names = {branch_key(layer.name, "spiking") for layer in twin.synapses if layer.levels is not None}
        own = sum(getattr(layer, count) for layer in self.activity.synapses if layer.name in names)
        theirs = sum(getattr(layer, count) for layer in twin.synapses if layer.levels is not None)
        return own / theirs if theirs else None

    @property
    def contains_control(self) -> bool:
        """True if its analog branch alone is as large as its control, as that of a hybrid is."""
        return self.control is not None and bool(self.macs_spiking) and self.macs_analog >= self.control.macs

    @property
    def break_even(self) -> tuple[BreakEven, ...]:
        """Spike rate and T at which it would cost what its control costs; none without spikes, or if it contains it."""
        rate = None if self.activity is None else self.activity.spike_rate
        if not rate or self.control is None or self.contains_control:
            return ()
        return break_even(self.estimates, rate, self.timesteps)

    @property
    def caveat(self) -> str:
        """A warning that spikes of an untrained network, or zeros of its control, mean nothing; '' for others."""
        if self.activity is None:
            return ""
        if (self.weights or "").startswith(UNTRAINED):
            return f"{UNTRAINED}: its spikes, and what follows from them, say nothing of a trained network"
        if self.control is not None and (self.control.weights or "").startswith(UNTRAINED):
            return "the control is untrained, so models that skip zeros say nothing of it"
        return ""

    def to_json(self) -> dict[str, Any]:
        """One JSON object, raw integers, the figures at the top."""
        nested = ("layers", "control", "twin", "activity", "estimates", "product_macs")
        return {
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name not in nested},
            "first_count": self.product_macs,
            "energy_ratio": self.energy_ratio,
            "energy_ratios": self.energy_range and self.energy_range.ratios,
            "statement": self.statement,
            "caveat": self.caveat,
            "control": _rival_json(self.control),
            "twin": _rival_json(self.twin),
            "spikes_per_activation": self.spikes_per_activation,
            "additions_per_mac": self.additions_per_mac,
            "additions_per_mac_in_all": self.additions_per_mac_in_all,
            "layers": [asdict(layer) for layer in self.layers],
            "activity": self.activity and self.activity.to_json(),
            "energy": self.activity and energy_json(self.activity),
            "energy_models": [estimate.to_json() for estimate in self.estimates],
            "contains_control": self.contains_control,
            "break_even": [asdict(point) for point in self.break_even],
        }


def _rival_json(rival: Profile | None) -> dict[str, Any] | None:
    """Write a control or twin as one JSON object, in short."""
    if rival is None:
        return None
    figures = {field.name: getattr(rival, field.name) for field in fields(Cost)}
    activity = rival.activity
    return {"name": rival.name, **figures, "steps": rival.steps, "energy": activity and energy_json(activity)}


def profile(
    model: ImageClassifier | OpenedModel | str | nn.Module,
    image_size: int | None = None,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    images: Tensor | Iterable[Tensor] | None = None,
    reset: Reset | None = None,
    inputs: Inputs | None = None,
    images_per_batch: int = MAX_BATCH,
    device: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> Profile:
    """Count all that a model costs; with images, also the work that they cause.

    Example:
        >>> import torch
        >>> import zoo
        >>> cost = zoo.profile("has8_resnet_b8_m2_d4_ste_bpd", 32, num_classes=10)
        >>> cost.params, cost.macs, cost.macs_per_timestep
        (379882, 29541376, 6565248)
        >>> cost.control.name  # the same network without spikes
        'ann_resnet_b8_m2_d4'

        >>> own = zoo.profile(torch.nn.Linear(4, 2), images=torch.ones(3, 4))  # any torch module
        >>> own.macs, own.activity.synaptic.acs  # every input was 1: additions
        (8, 24)

    Args:
        model: a network; or a name as `create_model` takes it. Weights are loaded only if there are images; a network
            without any is initialised from a fixed seed. Any other torch module is counted on images alone: T is as
            often as its layers are called for an image, and it has no control.
        image_size: pixels a side; by default the images' own, without images the checkpoint's, or 224.
        num_classes, in_chans: for a name; by default its checkpoint's own, or 1000 classes and 3 channels.
        images: (N, C, H, W) in [0, 1], or any number of (C, H, W); H = W. They are read as they are needed, and pass
            in batches of bounded memory. (N, T, C, H, W) for a network that takes frames; its control sees their mean.
        reset: called with a module of one's own before every batch, such as spikingjelly's `functional.reset_net`.
        inputs: makes the arguments of such a module from a batch (N, …): a tensor, a tuple, a mapping of keywords.
        images_per_batch: at most so many at once.
        device: where to compute, such as `cuda`; by default the device of a network, and for a name the CPU. A network
            is moved there.
        endpoint: this and what follows as for `create_model`.

    Raises:
        InputError: the model is on the meta device, the machine lacks `device`, or an image or `image_size` does not
            fit; what else `create_model` raises.
        OptionError: an argument has the wrong type, or `num_classes` goes with a network.
        CountingError: a module raises, keeps state from batch to batch, or meets values that are not finite.
    """
    per_batch = check_count("images_per_batch", images_per_batch, 1, MAX_PROFILED_SIZE)
    if image_size is not None:
        image_size = check_count("image_size", image_size, 1, MAX_PROFILED_SIZE)
    place = None if device is None else usable_device(device)
    if isinstance(model, nn.Module) and not isinstance(model, ImageClassifier):
        module = unwrap(model if place is None else model.to(place))
        return _profile_module(module, images, registry, reset=reset, inputs=inputs, images_per_batch=per_batch)
    if reset is not None or inputs is not None:
        raise OptionError("reset= and inputs= go with a module of your own; networks of the zoo start from rest")
    places = Places(endpoint, cache_dir, token, registry=registry, catalog=catalog)
    if isinstance(model, str):
        model = open_model(model, places)
    shape = {"num_classes": num_classes, "in_chans": in_chans}
    return _profile_network(model, image_size, images, place, per_batch, places, **shape)


def _profile_network(
    model: ImageClassifier | OpenedModel,
    image_size: int | None,
    images: Tensor | Iterable[Tensor] | None,
    place: str | None,
    per_batch: int,
    places: Places,
    **shape: int | None,
) -> Profile:
    """Count a network of the zoo beside its rivals."""
    network, weights, size = _network(model, **shape, trained=images is not None)
    network = in_spikes(network if place is None else network.to(place))
    opened = model if isinstance(model, OpenedModel) else open_network(network, places)
    networks = _networks(network, weights, opened, trained=images is not None)
    size = image_size or size
    estimates: tuple[Estimate, ...] = ()
    if images is not None:
        images, size = _open_images(images, image_size, network)
    profiles = {role: _describe(*rival, size) for role, rival in networks.items()}
    if images is not None:
        alone = {role: rival for role, (rival, _) in networks.items()}
        measured = _measure(alone, images, profiles[OWN], opened.places.components, per_batch)
        profiles = {role: replace(described, activity=measured[role].counts) for role, described in profiles.items()}
        estimates = estimate_all(measured[OWN], measured.get(CONTROL), measured.get(TWIN))
    levels = twin_levels(network.spec, network.timesteps, opened.places.components) if TWIN in profiles else None
    own = replace(profiles[OWN], levels=levels, estimates=estimates)
    return replace(own, control=profiles.get(CONTROL), twin=profiles.get(TWIN))


def _profile_module(
    module: nn.Module, images: Tensor | Iterable[Tensor] | None, registry: Registry | None, **options: Any
) -> Profile:
    """Count a module that is no network of the zoo; its layers that take or make spikes are its spiking branch."""
    if images is None:
        raise OptionError(f"{type(module).__name__} is no network of the zoo: count it on images, by images=batch")
    recorder, counts, side = count_module(module, images, **options)
    layers, timesteps = layers_of(module, recorder, counts), recorder.timesteps
    spiking = [layer for layer in layers if layer.branch == "spiking"]
    macs, macs_spiking = (sum(layer.macs for layer in chosen) for chosen in (layers, spiking))
    params, params_spiking = (sum(layer.params for layer in chosen) for chosen in (layers, spiking))
    return Profile(
        params=params,
        image_size=side,
        timesteps=timesteps,
        macs=macs,
        macs_analog=macs - macs_spiking,
        macs_spiking=macs_spiking,
        macs_per_timestep=round(macs / timesteps),
        unsupported={},
        name=type(module).__name__,
        weights="as given",
        num_classes=0,
        params_analog=params - params_spiking,
        params_spiking=params_spiking,
        size_bytes=_bytes_of(module),
        activations=sum(layer.outputs for layer in counts.synapses) // counts.images,
        product_macs=macs,
        layers=layers,
        activity=counts,
        estimates=estimates_of(counts, registry),
    )


def _bytes_of(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def _networks(
    network: ImageClassifier, weights: str | None, opened: OpenedModel, trained: bool
) -> dict[str, tuple[ImageClassifier, str | None]]:
    """Return the network and its rivals, each with a word on its weights."""
    networks, parameter = {OWN: (network, weights)}, next(network.parameters())
    control, twin = open_control(opened), twin_of(network, opened.places.components)
    if control is not None:
        shape = {"num_classes": network.num_classes, "in_chans": network.in_chans, "device": "cpu"}
        built = control.build_settled(None if trained else False, **shape).to(parameter.device, parameter.dtype)
        networks[CONTROL] = built, control.weights_description if trained else None
    if twin is not None:
        networks[TWIN] = twin, weights
    return networks


def _describe(network: ImageClassifier, weights: str | None, size: int) -> Profile:
    """Count what does not depend on images."""
    analysis, recorder = count_macs(network, size), Recorder(network)
    with recorder.watching():
        network(blank_image(network, size))
    cost = count_cost(network, size, analysis)
    spiking = sum(p.numel() for name, p in network.named_parameters() if network.branch_of(name) == "spiking")
    return Profile(
        **vars(cost),
        params_analog=cost.params - spiking,
        params_spiking=spiking,
        size_bytes=_bytes_of(network),
        name=str(network.spec),
        weights=weights,
        num_classes=network.num_classes,
        activations=sum(layer.outputs for layer in recorder.counts(1).synapses),
        product_macs=count_products(analysis),
        layers=list_layers(network, analysis.by_module(), recorder.outputs),
        steps=count_steps(network),
    )


def _network(
    model: ImageClassifier | OpenedModel, num_classes: int | None, in_chans: int | None, trained: bool
) -> tuple[ImageClassifier, str | None, int]:
    """Return the network to profile, a word on its weights, and the size of its images."""
    if isinstance(model, ImageClassifier):
        if num_classes is not None:
            raise OptionError(f"num_classes={num_classes!r} goes with a name; {model.spec} has {model.num_classes}")
        return model, "as given", stated_preprocessing(model).size
    if not isinstance(model, OpenedModel):
        raise OptionError(f"profile takes a network of the zoo or a name, not {type(model).__name__}")
    shape = {"num_classes": num_classes, "in_chans": in_chans}
    network = model.build_settled(None if trained else False, **shape, device="cpu")
    return network, model.weights_description if trained else None, model.preprocessing().size


def _open_images(
    images: Tensor | Iterable[Tensor], image_size: int | None, network: ImageClassifier
) -> tuple[Iterator[Tensor], int]:
    """Return the images, checked one by one as they come, and their side."""
    rest = iter(images)
    first = next(rest, None)
    if first is None:
        raise InputError("there are no images; give at least one")
    side = image_size or (first.shape[-1] if isinstance(first, Tensor) and first.dim() else 0)
    shape = (*network.input_axes, side, side)
    in_unit_range = not stated_preprocessing(network).normalises

    def checked(place: int, image: Tensor) -> Tensor:
        if not isinstance(image, Tensor) or not image.is_floating_point() or image.shape != shape:
            kind = f"{tuple(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
            raise InputError(f"image {place} is {kind}; wanted: floating-point tensors {shape}, all alike")
        if in_unit_range and not bool(((image >= 0) & (image <= 1)).all()):  # NaN is neither
            raise InputError(f"image {place} holds values outside [0, 1], or NaN; scale pixels to [0, 1]")
        return image

    return starmap(checked, enumerate(chain([first], rest))), side


def _measure(
    networks: Mapping[str, ImageClassifier],
    images: Iterator[Tensor],
    described: Profile,
    registry: Registry | None,
    most: int,
) -> dict[str, Observation]:
    """Count the same images in each network, with every energy model; thresholds are folded in copies."""
    batch = max(1, min(most, BATCH_VALUES // max(layer.outputs for layer in described.layers)))
    folded = {role: _folded(network) for role, network in networks.items()}
    recorders = {role: Recorder(network) for role, network in folded.items()}
    types = energy_models(registry)
    models = {role: {name: model(network) for name, model in types.items()} for role, network in folded.items()}
    weights = next(folded[OWN].parameters())
    count = 0
    while chunk := list(islice(images, batch)):
        stacked = torch.stack(chunk).to(weights.device, weights.dtype)
        count += len(chunk)
        for role, network in folded.items():
            has_frames = stacked.dim() > len(network.input_axes) + 3  # of which a control of stills sees the mean
            inputs = stacked.mean(1) if has_frames else stacked
            with recorders[role].watching(len(chunk)):
                network(inputs)
            for model in models[role].values():
                model.measure(inputs)
    return {role: Observation(recorders[role].counts(count), models[role]) for role in folded}


def _folded(network: ImageClassifier) -> ImageClassifier:
    """Return a copy in which spikes are 1 and levels whole numbers; the network itself if it has no thresholds."""
    if not has_thresholds(network):
        return network
    copied = deepcopy(network)
    fold_thresholds(copied)
    return copied
