"""Records of trained weights: the schema of a registry.yaml and of the part `zoo` of a config.json. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from zoo.contracts.family import MAX_CHANNELS, MAX_CLASSES, MAX_IMAGE_SIZE
from zoo.errors import check_count, shorten
from zoo.names import TAG, HubRepository, Source, Spec, parse_source

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Distribution = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=200)]
Percent = Annotated[float, Field(ge=0, le=100)]

TOP_K = re.compile(r"top(\d+)")  # metrics that are shares of images, in percent


def in_words(metric: str, value: float) -> str:
    """Write a metric with two decimals, a share of images in percent."""
    return f"{value:.2f}" + " %" * bool(TOP_K.fullmatch(metric))


def in_digits(ratio: float) -> str:
    """Write a ratio as sentences and tables show it: 0.62, 1.66, 5.2."""
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:,.1f}"


class Record(BaseModel):
    """Base of all records: no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@final
class Preprocessing(Record):
    """From a decoded image to the model's input: resized, cropped, pixels in [0, 1], then (pixels − mean) / std.

    `mean` and `std` have one number for every channel, or one for all of them.
    """

    size: int = Field(ge=1, le=MAX_IMAGE_SIZE, description="pixels a side of the input")
    resize: Literal["shorter-side"] = "shorter-side"
    crop: Literal["center"] = "center"
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_pct: float = Field(default=1.0, ge=0.1, le=1, description="the share of the resized side that the crop keeps")
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1, max_length=MAX_CHANNELS)
    std: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1, max_length=MAX_CHANNELS)

    @property
    def normalises(self) -> bool:
        """True if pixels leave [0, 1]."""
        return set(self.mean) != {0.0} or set(self.std) != {1.0}

    def of_channels(self, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std of each of `count` channels; the average if they are of another number."""
        mean, std = (
            values if len(values) == count else (sum(values) / len(values),) * count for values in (self.mean, self.std)
        )
        return mean, std

    def at(self, image_size: int | None) -> Preprocessing:
        """Return the same for images of another size; raises `OptionError` or `CompositionError`."""
        if image_size is None:
            return self
        return self.model_copy(update={"size": check_count("image_size", image_size, 1, MAX_IMAGE_SIZE)})


@final
class Counts(Record):
    """Counts of one forward pass; recomputed by a test."""

    params: int = Field(ge=0)
    image_size: int = Field(ge=1)
    timesteps: int = Field(ge=1)
    macs: int | None = Field(ge=0, description="multiply-accumulates of all timesteps; null if they were not counted")
    macs_per_timestep: int | None = Field(ge=0, description="analog + spiking / T, the paper's convention")


@final
class Activity(Record):
    """Counts while real images went through, averaged over these images."""

    images: int = Field(ge=1)
    data: str = Field(min_length=1, description="which images, and the command that counted")
    spike_rate: float | None = Field(
        default=None, ge=0, le=1, title="spike rate, %", description="spikes per neuron and timestep"
    )
    synaptic_spike_rate: float | None = Field(
        default=None, ge=0, le=1, title="synaptic spike rate, %", description="additions over MACs of layers of spikes"
    )
    macs: int = Field(ge=0, description="multiply-accumulates an image, all timesteps")
    acs: int = Field(ge=0, description="accumulates an image: synaptic operations on spikes")
    energy_uj: float = Field(ge=0, description="microjoules an image at 45 nm")
    control_energy_uj: float | None = Field(default=None, ge=0, description="the same for the network without spikes")

    @classmethod
    def titles(cls) -> dict[str, str]:
        """Figure → heading, of those that every table shows; a title with % is of a share in [0, 1]."""
        return {name: field.title for name, field in cls.model_fields.items() if field.title}

    def shown(self) -> dict[str, str]:
        """Heading → text, as tables have it; '' for a figure that is not known."""
        values = {title: getattr(self, name) for name, title in self.titles().items()}
        return {title: "" if value is None else f"{100 * value:.1f}" for title, value in values.items()}

    @property
    def in_words(self) -> str:
        """`spike rate 14.0 %; synaptic spike rate 12.1 %`, as sentences have it, of what is known."""
        return "; ".join(f"{title.removesuffix(', %')} {text} %" for title, text in self.shown().items() if text)


@final
class EnergyRange(Record):
    """Energy of an image under published models, beside the network without spikes."""

    models: dict[str, tuple[NonNegativeFloat, PositiveFloat]] = Field(
        min_length=1, description="model → microjoules of network and control"
    )
    twin: dict[str, PositiveFloat] = Field(default_factory=dict, description="model → microjoules of the twin")
    skips_zeros: tuple[str, ...] = Field(default=(), description="models that skip zeros of spikes and of all else")
    does_not_run: dict[str, str] = Field(default_factory=dict, description="model → why it has no figure")
    steps: int | None = Field(default=None, ge=1, description="sequential steps of an image, its latency")
    control_steps: int | None = Field(default=None, ge=1, description="the same of the control")
    additions_per_mac: PositiveFloat | None = Field(
        default=None, description="additions that a MAC of the twin must cost for spikes to win, synapses alone"
    )
    images: int | None = Field(default=None, ge=1, description="how many they are averages over")
    data: str = Field(default="", description="which images, and the command that counted")

    @property
    def ratios(self) -> tuple[float, float]:
        """Lowest and highest ratio of network to control."""
        ratios = [network / control for network, control in self.models.values()]
        return min(ratios), max(ratios)

    @property
    def in_words(self) -> str:
        """`1.44 (arithmetic-int8) to 16.8 (loihi-synapses)`; a single model alone."""
        return _range_in_words({model: network / control for model, (network, control) in self.models.items()})

    @property
    def even_ratios(self) -> dict[str, float]:
        """Model → ratio of network to control, of models that skip zeros on both sides."""
        return {model: own / control for model, (own, control) in self.models.items() if model in self.skips_zeros}

    @property
    def twin_ratios(self) -> dict[str, float]:
        """Model → ratio of network to twin, of models that skip zeros on both sides; none without a twin."""
        pairs = {model: (self.models[model][0], twin) for model, twin in self.twin.items() if model in self.models}
        return {model: own / twin for model, (own, twin) in pairs.items() if model in self.skips_zeros}

    @property
    def twin_in_words(self) -> str:
        """As `in_words`, beside the twin; '' without one."""
        return _range_in_words(self.twin_ratios)


def _range_in_words(ratios: Mapping[str, float]) -> str:
    """Write the lowest and the highest ratio, each with its model."""
    ordered = sorted((ratio, model) for model, ratio in ratios.items())
    ends = dict.fromkeys((ordered[0], ordered[-1])) if ordered else {}
    return " to ".join(f"{in_digits(ratio)} ({model})" for ratio, model in ends)


@final
class Conversion(Record):
    """Published file that a weight was converted from."""

    name: str = Field(min_length=1, description="as its publisher calls it")
    sha256: Sha256 = Field(description="of the file that was converted")


class StoredWeight(Record):
    """A trained weight, without the place of its bytes.

    Attributes:
        control: the weight of the network without spikes to compare it with, `variant.tag`: the one that its analog
            branches started from, or one of the same schedule; empty for none.
        started_from: the weight that training started from, `variant.tag`; empty for none.
        silenced: top-1 in percent with one kind of branch giving 0: `spiking`, `analog`.
        mean_replaced: top-1 in percent with every spiking branch replaced by its mean over images.
        robustness: top-1 in percent on altered validation images, by their alteration, and `as they are`.
        calibration_error: expected calibration error in percent.
        robustness_images: validation images that the four above are of, evenly spread.
        energy_range: energy under several published models.
        converted: the file that it was converted from.
        components: kind → distribution of each component that is not has8-zoo's.
        tensors_of: the weight, `variant.tag`, whose file this network reads in another code; a key that it has in its
            other branch is taken from there.
    """

    variant: str
    tag: str = Field(pattern=rf"^{TAG.pattern}$")
    sha256: Sha256
    size: int = Field(ge=1, description="bytes")
    license: str = Field(min_length=1)
    dataset: str
    dataset_id: str = Field(default="", pattern=r"^([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)?$", description="on the Hub")
    dataset_license: str
    dataset_attribution: str
    dataset_note: str = ""
    labels: Annotated[tuple[str, ...], FailFast()] = Field(min_length=1, max_length=MAX_CLASSES)
    in_chans: int = Field(default=3, ge=1, le=MAX_CHANNELS)
    preprocessing: Preprocessing
    recipe: str
    epochs: int | None = Field(default=None, ge=1)
    seed: int | None = None
    metrics: dict[str, float]
    limits: str = ""
    spec: dict[str, Any]
    providers: dict[Distribution, str] = Field(description="distribution → version it was trained with")
    components: dict[str, Distribution] = Field(default_factory=dict)
    tensors_of: str = ""
    figures: Counts
    activity: Activity | None = None
    spike_rate: float | None = Field(default=None, ge=0, description="in the last step of training")
    control: str = ""
    started_from: str = ""
    silenced: dict[Literal["spiking", "analog"], Percent] = Field(default_factory=dict)
    mean_replaced: Percent | None = None
    robustness: dict[str, Percent] = Field(default_factory=dict)
    calibration_error: Percent | None = None
    robustness_images: int | None = Field(default=None, ge=1)
    energy_range: EnergyRange | None = None
    converted: Conversion | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> StoredWeight:
        for name, value in self.metrics.items():
            if (TOP_K.fullmatch(name) and not 0 <= value <= 100) or (name == "loss" and value < 0):
                raise ValueError(f"{name}={value:g} is out of range; valid: top-k from 0 to 100, a loss of 0 or more")
        for name in ("mean", "std"):
            count = len(getattr(self.preprocessing, name))
            if count not in (1, self.in_chans):
                raise ValueError(f"preprocessing.{name} has {count} numbers; valid: 1, or in_chans={self.in_chans}")
        if self.spec.get("name") != self.variant:
            raise ValueError(f"spec.name is {self.spec.get('name')!r}, not the variant {self.variant!r}")
        if not isinstance(self.spec.get("options", {}), dict):
            raise ValueError("spec.options is not a mapping of kinds to options, such as {'neuron': {'tau': 4.0}}")
        self.model_dump_json()  # a ValueError for half of a surrogate pair, which no file can hold
        return self

    def __repr__(self) -> str:
        figures = "".join(f", {name}={value:g}" for name, value in self.metrics.items())
        return f"{type(self).__name__}({self.name}{figures}, sha256={self.sha256[:12]}…)"

    @property
    def name(self) -> str:
        """`variant.tag`."""
        return f"{self.variant}.{self.tag}"

    @property
    def num_classes(self) -> int:
        """One for each label."""
        return len(self.labels)

    @property
    def robustness_in_words(self) -> str:
        """`of 2,000 validation images as they are 84.3 %, noise 0.1 57.2 %; …`; empty if not measured."""
        if self.robustness_images is None:
            return ""
        parts = [", ".join(f"{what} {top1:.1f} %" for what, top1 in self.robustness.items())]
        parts += [f"with silenced {branch} branches {top1:.1f} %" for branch, top1 in self.silenced.items()]
        parts += [f"with their spikes' mean {self.mean_replaced:.1f} %"] if self.mean_replaced is not None else []
        parts += [f"calibration error {self.calibration_error:.1f} %"] if self.calibration_error is not None else []
        return f"of {self.robustness_images:,} validation images " + "; ".join(parts)

    def spec_of(self, spec: Spec) -> Spec:
        """Return `spec` with this weight's tag and options."""
        return spec.tagged(self.tag).with_options(self.spec.get("options", {}))


@final
class WeightRecord(StoredWeight):
    """One weight of a catalog, with its source.

    Attributes:
        source: `package:module/file.safetensors` or `hf-hub:org/name`; with `tensors_of` it may be left out, and the
            catalog takes that weight's.
        revision: of a source on the Hub.
        published: the same bytes on the Hub, as `hf-hub:org/name@revision`; see tools/record_publication.py.
    """

    source: str = ""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    published: str | None = Field(default=None, pattern=r"^hf-hub:[^@]+@[0-9a-f]{40}$")

    @model_validator(mode="after")
    def _source_is_safe(self) -> WeightRecord:
        if self.tensors_of and not self.source:
            return self
        located = parse_source(self.source)
        if isinstance(located, HubRepository) and (self.revision is None or located.revision is not None):
            raise ValueError("a source on the Hub is hf-hub:org/name, with its 40-hex commit as `revision`")
        return self

    @property
    def location(self) -> Source:
        """Place of the bytes, of a record that a catalog gave."""
        located = parse_source(self.source)
        return HubRepository(located.repo_id, self.revision) if isinstance(located, HubRepository) else located

    @property
    def repository(self) -> HubRepository | None:
        """Repository of the Hub that holds the same bytes, at its commit; None if no one is known."""
        if self.published is None:
            location = self.location
            return location if isinstance(location, HubRepository) and not self.tensors_of else None
        repo_id, _, revision = self.published.removeprefix("hf-hub:").partition("@")
        return HubRepository(repo_id, revision)

    def stored(self) -> StoredWeight:
        """Return the record without its source."""
        return StoredWeight.model_validate(self.model_dump(exclude={"source", "revision", "published"}))


def _printed(value: object) -> str:
    """Write a value, an integer of more digits than Python prints too."""
    try:
        return str(value)
    except ValueError:
        return "an integer of thousands of digits"


def complaints(error: ValidationError) -> str:
    """Write the first three complaints on one line, each with its field, its value if that is short, and the rule."""
    lines = []
    for fault in error.errors(include_url=False):
        place = ".".join(shorten(str(key)).strip("'") for key in fault["loc"])
        value = f" {shorten(_printed(fault['input']))}" if isinstance(fault["input"], str | int | float) else ""
        lines.append(f"{place}{value}: {fault['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return "; ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")
