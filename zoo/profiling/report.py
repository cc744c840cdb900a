"""`zoo.profile`: the whole cost of a model, beside that of the same network without spikes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any, Unpack, final

import torch
from torch import Tensor

from zoo.catalog import Catalog, EnergyRange, Preprocessing
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import usable_device
from zoo.contracts.sizes import MAX_PROFILED_SIZE
from zoo.errors import InputError, OptionError, check_integer
from zoo.factory import UNTRAINED, OpenedModel, Places, open_model
from zoo.profiling.activity import OperationCounts, Recorder, count_operations
from zoo.profiling.counting import (
    Cost,
    Layer,
    blank_images,
    cost_of,
    count_cost,
    count_macs,
    list_layers,
    params_by_branch,
)
from zoo.profiling.energy import (
    FORMULA,
    PJ_PER_AC,
    PJ_PER_MAC,
    SOURCE,
    BreakEven,
    Energy,
    Estimate,
    break_even,
    compare,
    compare_range,
    energy_models,
    estimate_all,
    range_of,
)
from zoo.registry import Registry, default_registry
from zoo.weights import stated_preprocessing

BATCH_VALUES = 2**24
"""Values of the largest layer, all timesteps, that go through the network at once: 64 MiB in float32."""
MAX_BATCH = 64

_BASIS = {"pj_per_mac": PJ_PER_MAC, "pj_per_ac": PJ_PER_AC, "formula": FORMULA, "source": SOURCE}


@final
@dataclass(frozen=True)
class Control:
    """The same network without spikes.

    Attributes:
        name: it can be built by it.
        cost: for images of the same size, with as many classes.
        energy: of the same images; None without images.
    """

    name: str
    cost: Cost
    energy: Energy | None = None

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        energy = None if self.energy is None else self.energy.to_json()
        return {"name": self.name, **self.cost.to_json(), "energy": energy}


@final
@dataclass(frozen=True)
class Profile(Cost):
    """The whole cost of a model: a `Cost`, its parts, and with images the work that they cause.

    Attributes:
        name: the model's.
        weights: the source of its weights, in words; None without images, which alone need them.
        num_classes: logits.
        params_analog: of the analog branch, and of what lies in neither.
        params_spiking: of the spiking branch.
        size_bytes: parameters and buffers.
        activations: outputs of convolutions and linear layers for one image, all timesteps; what fvcore's
            `ActivationCountAnalysis` counts.
        first_count: MACs of convolutions, linear layers and products of matrices alone.
        layers: every layer.
        control: the network without spikes; None if there is none.
        activity: spikes and operations; None without images.
        energy: None without images.
        estimates: energy under every model of energy; none without images.
    """

    name: str
    weights: str | None
    num_classes: int
    params_analog: int
    params_spiking: int
    size_bytes: int
    activations: int
    first_count: int
    layers: tuple[Layer, ...]
    control: Control | None = None
    activity: OperationCounts | None = None
    energy: Energy | None = None
    estimates: tuple[Estimate, ...] = ()

    def __repr__(self) -> str:
        """A table of about ten lines; every figure is an attribute, and `to_json` has them all."""
        weights = f", {self.weights}" if self.weights else ""
        rows = [(f"of one image, {self.image_size}×{self.image_size} pixels", "model", "control"), *self._rows()]
        return "\n".join(
            [
                f"{self.name}{weights}",
                f"control: {self.control.name if self.control else '–'}",
                *(f"{label:<30}{own:>20}{theirs:>20}" for label, own, theirs in rows),
                f"Profile: {len(self.layers)} layers in .layers; all of it in .to_json()",
            ]
        )

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        cost = self.control.cost if self.control else None
        names = {
            "parameters": "params",
            "MACs a timestep": "macs_per_timestep",
            "MACs": "macs",
            "timesteps T": "timesteps",
        }
        for label, name in names.items():
            yield label, f"{getattr(self, name):,}", "–" if cost is None else f"{getattr(cost, name):,}"
        if self.energy is not None and self.activity is not None:
            theirs = self.control.energy if self.control else None
            yield "energy, µJ", f"{self.energy.pj / 1e6:,.3f}", "–" if theirs is None else f"{theirs.pj / 1e6:,.3f}"
            rate = self.activity.spike_rate
            yield "spike rate", "–" if rate is None else f"{rate:.4f}", "–"

    @property
    def energy_ratio(self) -> float | None:
        """This model's energy over its control's by float32 arithmetic at 45 nm; None without images or a control."""
        if self.energy is None or self.control is None or self.control.energy is None:
            return None
        return self.energy.pj / self.control.energy.pj

    @property
    def statement(self) -> str:
        """A sentence on which costs more, this model or its control: energy with images, else MACs; '' without one.

        Energy is a range, from the lowest ratio to the highest that any model of energy gives.
        """
        if self.control is None:
            return ""
        if self.energy_ratio is None or self.energy_range is None:
            return f"{self.name} {compare(self.macs, self.control.cost.macs, 'MACs', self.control.name)}"
        return f"{self.name} {compare_range(self.energy_range, self.energy_ratio, self.control.name)}"

    @property
    def energy_range(self) -> EnergyRange | None:
        """Microjoules of this model and of its control by model of energy; None without images or a control."""
        return range_of(self.estimates)

    @property
    def contains_control(self) -> bool:
        """True if its analog branch alone is as large as its control, as that of a hybrid is."""
        return self.control is not None and bool(self.macs_spiking) and self.macs_analog >= self.control.cost.macs

    @property
    def break_even(self) -> tuple[BreakEven, ...]:
        """Spike rate and T at which it would cost what its control costs; none without spikes, or if it contains it."""
        rate = None if self.activity is None else self.activity.spike_rate
        if not rate or self.control is None or self.contains_control:
            return ()
        return break_even(self.estimates, rate, self.timesteps)

    @property
    def caveat(self) -> str:
        """A warning that the spikes of an untrained network mean nothing; '' for any other."""
        if self.energy is None or self.weights is None or not self.weights.startswith(UNTRAINED):
            return ""
        return f"{UNTRAINED}: its spikes, and what follows from them, say nothing of a trained network"

    @property
    def basis(self) -> str:
        """How energy follows from operations, and whose figures these are."""
        return f"{FORMULA}; {SOURCE}"

    def to_json(self) -> dict[str, Any]:
        """One JSON object, raw integers, the figures at the top."""
        cost = {field.name: getattr(self, field.name) for field in fields(Cost)}
        return {
            "name": self.name,
            "weights": self.weights,
            "num_classes": self.num_classes,
            **cost,
            "params_analog": self.params_analog,
            "params_spiking": self.params_spiking,
            "size_bytes": self.size_bytes,
            "activations": self.activations,
            "first_count": self.first_count,
            "energy_ratio": self.energy_ratio,
            "energy_ratios": None if self.energy_range is None else self.energy_range.ratios,
            "statement": self.statement,
            "caveat": self.caveat,
            "control": None if self.control is None else self.control.to_json(),
            "layers": [asdict(layer) for layer in self.layers],
            "activity": None if self.activity is None else self.activity.to_json(),
            "energy": None if self.energy is None else self.energy.to_json() | _BASIS,
            "energy_models": [estimate.to_json() for estimate in self.estimates],
            "contains_control": self.contains_control,
            "break_even": [asdict(point) for point in self.break_even],
        }


def profile(
    model: ImageClassifier | OpenedModel | str,
    image_size: int | None = None,
    *,
    num_classes: int | None = None,
    images: Tensor | Iterable[Tensor] | None = None,
    device: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> Profile:
    """Count all that a model costs; with images, also the work that they cause.

    Example:
        >>> import zoo
        >>> cost = zoo.profile("has8_resnet_b8_m2_d4_ste_bpd", num_classes=10)
        >>> cost.image_size  # of its weight
        32
        >>> cost.params, cost.macs, cost.macs_per_timestep
        (379882, 29541376, 6565248)
        >>> cost.control.name  # the same network without spikes
        'ann_resnet_b8_m2_d4'

    Args:
        model: a network, or a name as `create_model` takes it, or what `zoo.factory.open_model` made of one. A name's
            weights, those of its tag or the first listed, are loaded if images need them; without any, the network
            is initialised from a fixed seed.
        image_size: pixels a side; None for the images' own; without images for the weight's, or 224.
        num_classes: for a name; None for its weight's own, or 1000.
        images: (N, C, H, W) in [0, 1], or any number of (C, H, W); H = W. They are read as they are needed, and go
            through in batches of bounded memory.
        device: where to compute, such as `cuda`; None for where a network is, and for a name the CPU. A network
            is moved there.
        endpoint: of the Hub, for a name; None for HF_ENDPOINT, or huggingface.co.
        cache_dir: where downloads are kept; None for HF_HOME's.
        token: for private repositories; None for the one logged in with.
        registry: components to build from, also the control; the installed ones by default.
        catalog: where weights are listed; the installed ones by default.

    Raises:
        InputError: the model is on the meta device, the machine lacks `device`, or an image or `image_size` does not
            fit; what else `create_model` raises.
        OptionError: `model` is neither a network nor a name, `image_size` is not an integer, or `num_classes` goes with
            a network.
    """
    image_size = None if image_size is None else _check_side(image_size)
    place = None if device is None else usable_device(device)
    if isinstance(model, str):
        model = open_model(
            model,
            listed=True,
            endpoint=endpoint,
            cache_dir=cache_dir,
            token=token,
            registry=registry,
            catalog=catalog,
        )
    if isinstance(model, OpenedModel):
        registry, catalog = model.registry, model.stock.given_catalog
    network, weights, own_size = _network(model, num_classes, trained=images is not None)
    network = network if place is None else network.to(place)
    stream, size = (None, image_size or own_size) if images is None else _open_images(images, image_size, network)
    counts, shapes, params = count_macs(network, size), _shapes(network, size), params_by_branch(network)
    control = _control(network, registry, catalog)
    batch = max(1, min(MAX_BATCH, BATCH_VALUES // max(shapes.outputs.values())))
    networks = [model for model in (network, control) if model is not None]
    activities, estimates = ([], ()) if stream is None else _measure(networks, stream, batch, registry)
    energies = [Energy(activity.images, activity.work()) for activity in activities]
    return Profile(
        **vars(cost_of(network, size, counts)),
        params_analog=params["analog"],
        params_spiking=params["spiking"],
        size_bytes=sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers())),
        name=str(model.spec),
        weights=weights,
        num_classes=network.num_classes,
        activations=sum(shapes.outputs[name] for name in shapes.synapses),
        first_count=counts.products,
        layers=list_layers(network, counts.by_module, shapes.outputs),
        control=None if control is None else Control(str(control.spec), count_cost(control, size), *energies[1:]),
        activity=activities[0] if activities else None,
        energy=energies[0] if energies else None,
        estimates=estimates,
    )


def _check_side(image_size: int) -> int:
    side = check_integer("image_size", image_size, 1, MAX_PROFILED_SIZE)
    if not 1 <= side <= MAX_PROFILED_SIZE:
        raise InputError(f"image_size={side} is out of range; valid: 1 to {MAX_PROFILED_SIZE} pixels a side")
    return side


def _shapes(network: ImageClassifier, size: int) -> Recorder:
    """Return a recorder that has seen one blank image: how much every layer returns."""
    recorder = Recorder(network)
    with recorder.watching():
        network(blank_images(network, size))
    return recorder


# The network and its control ------------------------------------------------------------------------------------------


def preprocessing_of(name: OpenedModel | str, image_size: int | None = None, **places: Unpack[Places]) -> Preprocessing:
    """Return the preprocessing of a model's images: its weight's, with `image_size` in the place of its size if given.

    Args:
        name: as for `create_model`, or what `zoo.factory.open_model` made of it.
        image_size: pixels a side.
        **places: `endpoint`, `cache_dir`, `token`, `registry` and `catalog`, as for `create_model`.

    Raises:
        InputError, OptionError: `image_size` is out of range, or no integer; what else `create_model` raises.
    """
    side = None if image_size is None else _check_side(image_size)
    opened = name if isinstance(name, OpenedModel) else open_model(name, listed=True, **places)
    return opened.preprocessing(side)


def _network(
    model: ImageClassifier | OpenedModel, num_classes: int | None, trained: bool
) -> tuple[ImageClassifier, str | None, int]:
    """Return the network to profile, a word on its weights, and the size of its images."""
    if isinstance(model, ImageClassifier):
        if num_classes is not None:
            raise OptionError(
                f"num_classes={num_classes!r} goes with a name; this {model.spec} has {model.num_classes} already"
            )
        return model, "as given", stated_preprocessing(model).size
    if not isinstance(model, OpenedModel):
        raise OptionError(f"profile takes a network of the zoo or a name, not {type(model).__name__}")
    network = model.build_settled(None if trained else False, num_classes, device="cpu")
    return network, model.weights_in_words if trained else None, model.preprocessing().size


def _control(network: ImageClassifier, registry: Registry | None, catalog: Catalog | None) -> ImageClassifier | None:
    """Build the same network without spikes, untrained: its cost does not depend on its values."""
    family = (registry or default_registry()).load("family", network.spec.family)()
    name = family.control(dict(network.spec.fields))
    if name is None:
        return None
    weights = next(network.parameters())
    control = open_model(name, registry=registry, catalog=catalog)
    built = control.build_settled(False, network.num_classes, network.in_chans, device="cpu")
    return built.to(weights.device, weights.dtype)


# Images ---------------------------------------------------------------------------------------------------------------

_SLACK = 1e-5
"""Rounding of a mean and std."""


def _open_images(
    images: Tensor | Iterable[Tensor], image_size: int | None, network: ImageClassifier
) -> tuple[Iterator[Tensor], int]:
    """Return the images, checked one by one as they come, and their side; the first one is looked at already here."""
    if isinstance(images, Tensor) and images.dim() != 4:
        raise InputError(f"images are (N, C, H, W), not {tuple(images.shape)}; a single one is image[None]")
    rest = iter(images)
    start = list(islice(rest, 1))
    if not start:
        raise InputError("there are no images; give at least one")
    first = _check_kind(start[0], 0)
    side = image_size or first.shape[-1]
    valid = _valid_range(network)
    return (_check(image, number, side, *valid) for number, image in enumerate(chain(start, rest))), side


def _check_kind(image: Tensor, number: int) -> Tensor:
    if not isinstance(image, Tensor) or not image.is_floating_point() or image.dim() != 3:
        raise InputError(f"image {number} is not a floating-point tensor (C, H, W) of pixels in [0, 1]")
    return image


def _valid_range(network: ImageClassifier) -> tuple[Tensor, Tensor]:
    """Return what the network's mean and std make of pixels 0 and 1, each (C, 1, 1)."""
    stated = stated_preprocessing(network)
    if not stated.normalises:
        return torch.zeros(1), torch.ones(1)
    mean, std = (torch.tensor(values)[:, None, None] for values in stated.of_channels(network.in_chans))
    return -mean / std - _SLACK, (1 - mean) / std + _SLACK


def _check(image: Tensor, number: int, side: int, lowest: Tensor, highest: Tensor) -> Tensor:
    channels, height, width = _check_kind(image, number).shape
    if len(lowest) not in (1, channels):
        raise InputError(f"image {number} has {channels} channels; wanted: {len(lowest)}")
    if (height, width) != (side, side):
        raise InputError(f"image {number} has {height}×{width} pixels; wanted: {side}×{side}, all alike and square")
    inside = image.numel() and bool(((image >= lowest) & (image <= highest)).all())  # NaN is neither
    if not inside:
        low, high = float(lowest.min()), float(highest.max())
        advice = "scale pixels to [0, 1]" if (low, high) == (0, 1) else "prepare images by zoo.transform(model)"
        raise InputError(f"image {number} holds values outside [{low:.4g}, {high:.4g}], or NaN; {advice}")
    return image


def _measure(
    networks: Sequence[ImageClassifier], images: Iterator[Tensor], batch: int, registry: Registry | None
) -> tuple[list[OperationCounts], tuple[Estimate, ...]]:
    """Count the same images in each network, and estimate their energy under every model."""
    recorders = [Recorder(network) for network in networks]
    types = energy_models(registry)
    models = [{name: model(network) for name, model in types.items()} for network in networks]
    weights = next(networks[0].parameters())
    count = 0
    while chunk := list(islice(images, batch)):
        stacked = torch.stack(chunk).to(weights.device, weights.dtype)
        count += len(chunk)
        for network, recorder, own in zip(networks, recorders, models, strict=True):
            with recorder.watching():
                network(stacked)
            for model in own.values():
                model.measure(stacked)
    counts = [count_operations(network, recorder, count) for network, recorder in zip(networks, recorders, strict=True)]
    return counts, estimate_all(counts, models)
