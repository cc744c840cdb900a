"""The schemas of registry.yaml and of the config.json beside published weights: what is known of a weight.

Loads no torch, and reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator, model_validator

from zoo.catalog.sources import HubRepository, PackageFile, Source, parse_reference, parse_source
from zoo.contracts.family import MAX_CHANNELS, MAX_CLASSES
from zoo.contracts.sizes import MAX_IMAGE_SIZE
from zoo.errors import shorten
from zoo.names import TAG, Spec, option_problem

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Distribution = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]

Percent = Annotated[float, Field(ge=0, le=100)]

TOP_K = re.compile(r"top(\d+)")
"""The metrics that are shares of images, in percent."""


def in_words(metric: str, value: float) -> str:
    """A measured figure to two digits: a share of images in percent, anything else without a unit."""
    return f"{value:.2f}" + " %" * bool(TOP_K.fullmatch(metric))


def in_digits(ratio: float) -> str:
    """A ratio as sentences and tables show it: 0.62, 1.66, 5.2."""
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:,.1f}"


class Record(BaseModel):
    """Unknown keys are refused: a record never says more than its schema. Numbers are finite."""

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
    crop_pct: float = Field(default=1.0, gt=0, le=1, description="the share of the resized side that the crop keeps")
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1, max_length=MAX_CHANNELS)
    std: tuple[PositiveFloat, ...] = Field(default=(1.0,), min_length=1, max_length=MAX_CHANNELS)

    @property
    def normalises(self) -> bool:
        """Whether pixels leave [0, 1]."""
        return set(self.mean) != {0.0} or set(self.std) != {1.0}

    def of_channels(self, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of each of `count` channels; a network adapted to others takes the average for each."""
        return _for_channels(self.mean, count), _for_channels(self.std, count)


def _for_channels(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values if len(values) == count else (sum(values) / len(values),) * count


@final
class Figures(Record):
    """What one forward pass costs; recomputed by a test."""

    params: int = Field(ge=0)
    image_size: int = Field(ge=1)
    timesteps: int = Field(ge=1)
    macs: int = Field(ge=0, description="multiply-accumulates of all timesteps")
    macs_per_timestep: int = Field(ge=0, description="analog + spiking / T, the paper's convention")


@final
class Activity(Record):
    """What was counted while real images went through; averages over these images."""

    images: int = Field(ge=1)
    data: str = Field(min_length=1, description="which images, and the command that counted")
    spike_rate: float | None = Field(default=None, ge=0, le=1, description="spikes per neuron and timestep")
    macs: int = Field(ge=0, description="multiply-accumulates an image, all timesteps")
    acs: int = Field(ge=0, description="accumulates an image: synaptic operations on spikes")
    energy_uj: float = Field(ge=0, description="microjoules an image at 45 nm")
    control_energy_uj: float | None = Field(default=None, ge=0, description="the same for the network without spikes")


@final
class EnergyRange(Record):
    """What published models of energy say of an image, beside the network without spikes."""

    models: dict[str, tuple[float, float]] = Field(description="model → microjoules of network and control")
    images: int | None = Field(default=None, ge=1, description="how many they are averages over")
    data: str = Field(default="", description="which images, and the command that counted")

    @property
    def ends(self) -> tuple[tuple[float, str], tuple[float, str]]:
        """The lowest and the highest ratio of network to control, each with the model of energy that gives it."""
        ratios = [(network / control, model) for model, (network, control) in self.models.items()]
        return min(ratios), max(ratios)

    @property
    def ratios(self) -> tuple[float, float]:
        """The lowest and the highest ratio of network to control."""
        (lowest, _), (highest, _) = self.ends
        return lowest, highest

    @property
    def in_words(self) -> str:
        """`1.44 (arithmetic-int8) to 16.8 (loihi-synapses)`; the first alone where there is one model."""
        lowest, highest = self.ends
        return " to ".join(f"{in_digits(ratio)} ({model})" for ratio, model in dict.fromkeys((lowest, highest)))

    @field_validator("models")
    @classmethod
    def _has_ratios(cls, models: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        if not models or not all(network >= 0 and control > 0 for network, control in models.values()):
            raise ValueError("energies are 0 or more, of a control above 0, under one model at least")
        return models


@final
class Conversion(Record):
    """Which published file a weight was converted from."""

    name: str = Field(min_length=1, description="as its publisher calls it")
    sha256: Sha256 = Field(description="of the file that was converted")


class StoredWeight(Record):
    """A trained weight, wherever its bytes lie.

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
    labels: tuple[str, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    in_chans: int = Field(default=3, ge=1, le=MAX_CHANNELS)
    preprocessing: Preprocessing
    recipe: str
    epochs: int | None = Field(default=None, ge=1)
    seed: int | None = None
    metrics: dict[str, float]
    limits: str = ""
    spec: dict[str, Any]
    providers: dict[Distribution, str] = Field(description="distribution → version it was trained with")
    figures: Figures
    activity: Activity | None = None
    control: str = ""
    started_from: str = ""
    silenced: dict[Literal["spiking", "analog"], Percent] = Field(default_factory=dict)
    mean_replaced: Percent | None = None
    robustness: dict[str, Percent] = Field(default_factory=dict)
    calibration_error: Percent | None = None
    robustness_images: int | None = Field(default=None, ge=1)
    energy_range: EnergyRange | None = None
    converted: Conversion | None = None

    @field_validator("metrics")
    @classmethod
    def _metrics_are_possible(cls, metrics: dict[str, float]) -> dict[str, float]:
        for name, value in metrics.items():
            if TOP_K.fullmatch(name) and not 0 <= value <= 100:
                raise ValueError(f"{name}={value:g} is out of range; valid: 0 to 100, in percent")
            if name == "loss" and value < 0:
                raise ValueError(f"loss={value:g} is out of range; valid: 0 or more")
        return metrics

    @model_validator(mode="after")
    def _texts_can_be_written(self) -> StoredWeight:
        for name in type(self).model_fields:
            for text in _texts(getattr(self, name)):
                if not _is_unicode(text):
                    raise ValueError(f"{name} holds {shorten(text)}, which no file can: half a surrogate pair")
        return self

    @model_validator(mode="after")
    def _spec_is_the_variants(self) -> StoredWeight:
        if self.spec.get("name") != self.variant:
            raise ValueError(f"the spec is of {self.spec.get('name')!r}, not of {self.variant!r}")
        _check_options(self.spec.get("options", {}))
        return self

    @model_validator(mode="after")
    def _means_are_of_the_channels(self) -> StoredWeight:
        for name in ("mean", "std"):
            count = len(getattr(self.preprocessing, name))
            if count not in (1, self.in_chans):
                raise ValueError(f"preprocessing.{name} has {count} numbers; valid: 1, or in_chans={self.in_chans}")
        return self

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
        """`of 2,000 validation images as they are 84.3 %, noise 0.1 57.2 %; …`; empty where none was measured."""
        if self.robustness_images is None:
            return ""
        parts = [", ".join(f"{what} {top1:.1f} %" for what, top1 in self.robustness.items())]
        parts += [f"with silenced {branch} branches {top1:.1f} %" for branch, top1 in self.silenced.items()]
        parts += [f"with their spikes' mean {self.mean_replaced:.1f} %"] if self.mean_replaced is not None else []
        parts += [f"calibration error {self.calibration_error:.1f} %"] if self.calibration_error is not None else []
        return f"of {self.robustness_images:,} validation images " + "; ".join(parts)

    def spec_of(self, spec: Spec) -> Spec:
        """The spec with this weight's tag and options."""
        return spec.tagged(self.tag).with_options(self.spec.get("options", {}))


@final
class WeightRecord(StoredWeight):
    """One weight of a catalog: a stored one, and where it lies.

    Attributes:
        source: `package:module/file.safetensors` or `hf-hub:org/name`.
        revision: of a source on the Hub.
        published: where the same bytes lie on the Hub too, as `hf-hub:org/name@revision`; written by `zoo publish`.
    """

    source: str
    revision: Revision | None = None
    published: str | None = None

    @model_validator(mode="after")
    def _source_is_safe(self) -> WeightRecord:
        located = parse_source(self.source)
        if isinstance(located, HubRepository) and (self.revision is None or located.revision is not None):
            raise ValueError("a source on the Hub is hf-hub:org/name, with its 40-hex commit as `revision`")
        if isinstance(located, PackageFile) and self.revision is not None:
            raise ValueError("a package: source has no revision; its sha256 says which bytes it means")
        if self.published is not None:
            pin = parse_reference(self.published)
            if not isinstance(pin, HubRepository) or pin.revision is None:
                raise ValueError(f"published {self.published!r} is not of the form hf-hub:org/name@revision")
        return self

    @property
    def location(self) -> Source:
        """Where the bytes lie."""
        located = parse_source(self.source)
        return HubRepository(located.repo_id, self.revision) if isinstance(located, HubRepository) else located

    def stored(self) -> StoredWeight:
        """What is known of the weight itself, without where it lies."""
        return StoredWeight.model_validate(self.model_dump(exclude={"source", "revision", "published"}))


def _check_options(options: Any) -> None:
    """Raise ValueError for options that no spec has."""
    if not isinstance(options, dict) or not all(options.values()):
        raise ValueError("spec.options is not a mapping of kinds to options, such as {'neuron': {'tau': 4.0}}")
    for kind, given in options.items():
        if problem := option_problem(kind, given):
            raise ValueError(f"spec.options: {problem}")


def _texts(value: Any) -> Iterator[str]:
    """Every string in a value of JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


@final
class VariantGroup(Record):
    """Names that belong together, in brace notation."""

    names: str
    note: str = ""


@final
class CatalogFile(Record):
    """The whole of registry.yaml."""

    version: Literal[1]
    variants: tuple[VariantGroup, ...] = ()
    weights: tuple[WeightRecord, ...] = ()

    @field_validator("variants", "weights", mode="before")
    @classmethod
    def _nothing_is_an_empty_list(cls, value: Any) -> Any:
        return () if value is None else value  # a key with nothing behind it


def complaints(error: ValidationError) -> str:
    """The first complaints of many, on one line: each with its field, its value where that is short, and the rule."""
    found = [
        _place(each["loc"]) + f"{_value(each['input'])}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors(include_url=False)
    ]
    return "; ".join(found[:3]).removeprefix(": ") + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _place(keys: tuple[str | int, ...]) -> str:
    return ".".join(key if isinstance(key, str) and len(key) <= 60 else shorten(str(key)).strip("'") for key in keys)


def _value(given: Any) -> str:
    if isinstance(given, str):
        return f" {shorten(given)}"
    return f" {given:g}" if isinstance(given, float) else f" {given}" if isinstance(given, int) else ""
