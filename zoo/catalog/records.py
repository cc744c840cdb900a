"""registry.yaml of all installed distributions (group `zoo.catalogs`): its schema, and the weights. Loads no torch."""

from __future__ import annotations

import functools
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, final

import bracex
import yaml
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
from zoo.errors import CatalogError, ComponentError, ModelNameError, ZooWarning, check_count, shorten, suggest
from zoo.names import TAG, HubRepository, PackageFile, Source, Spec, check_characters, parse_source, plain_name
from zoo.registry.components import CATALOG_FILE, OURS, default_registry
from zoo.registry.installing import missing_weight

# Schema ---------------------------------------------------------------------------------------------------------------

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Distribution = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=200)]
Percent = Annotated[float, Field(ge=0, le=100)]

MAX_BYTES, MAX_ENTRIES, MAX_DEPTH, MAX_NAMES = 8 << 20, 200_000, 50, 20_000
"""Limits of a registry.yaml: bytes, values, levels of nesting, and variants. The zoo's own has 12 KB and 830 values."""

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
class Figures(Record):
    """Cost of one forward pass; recomputed by a test."""

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
    spike_rate: float | None = Field(default=None, ge=0, le=1, description="spikes per neuron and timestep")
    macs: int = Field(ge=0, description="multiply-accumulates an image, all timesteps")
    acs: int = Field(ge=0, description="accumulates an image: synaptic operations on spikes")
    energy_uj: float = Field(ge=0, description="microjoules an image at 45 nm")
    control_energy_uj: float | None = Field(default=None, ge=0, description="the same for the network without spikes")


@final
class EnergyRange(Record):
    """Energy of an image under published models, beside the network without spikes."""

    models: dict[str, tuple[NonNegativeFloat, PositiveFloat]] = Field(
        min_length=1, description="model → microjoules of network and control"
    )
    twin: dict[str, PositiveFloat] = Field(default_factory=dict, description="model → microjoules of the twin")
    does_not_run: dict[str, str] = Field(default_factory=dict, description="model → why it has no figure")
    steps: int | None = Field(default=None, ge=1, description="sequential steps of an image, its latency")
    control_steps: int | None = Field(default=None, ge=1, description="the same of the control")
    additions_per_mac: PositiveFloat | None = Field(
        default=None, description="additions that a multiply-accumulate of the twin must cost for spikes to win"
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
        return {model: own / control for model, (own, control) in self.models.items() if _skips_zeros(model)}

    @property
    def twin_ratios(self) -> dict[str, float]:
        """Model → ratio of network to twin, of models that skip zeros on both sides; none without a twin."""
        pairs = {model: (self.models[model][0], twin) for model, twin in self.twin.items() if model in self.models}
        return {model: own / twin for model, (own, twin) in pairs.items() if _skips_zeros(model)}

    @property
    def twin_in_words(self) -> str:
        """As `in_words`, beside the twin; '' without one."""
        return _range_in_words(self.twin_ratios)


def _skips_zeros(model: str) -> bool:
    """Tell by its name whether a model of energy skips zeros of spikes and of other activations alike."""
    return any(part in model for part in ("-sparse", "shift-add", "lowbit"))


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
    figures: Figures
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

    @property
    def twin(self) -> str:
        """Network without spikes that gives the same answers by the same tensors, with its option; '' for none."""
        read = Spec(
            self.spec["family"], tuple(self.spec["fields"].items()), self.variant
        )  # its parts may be missing here
        name = default_registry().load("family", read.family)().twin(self.spec_of(read))
        return f"{name} (levels={self.figures.timesteps})" if name else ""

    def spec_of(self, spec: Spec) -> Spec:
        """Return `spec` with this weight's tag and options."""
        return spec.tagged(self.tag).with_options(self.spec.get("options", {}))


@final
class WeightRecord(StoredWeight):
    """One weight of a catalog, with its source.

    Attributes:
        source: `package:module/file.safetensors` or `hf-hub:org/name`.
        revision: of a source on the Hub.
        published: the same bytes on the Hub, as `hf-hub:org/name@revision`; see tools/record_publication.py.
    """

    source: str
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    published: str | None = Field(default=None, pattern=r"^hf-hub:[^@]+@[0-9a-f]{40}$")

    @model_validator(mode="after")
    def _source_is_safe(self) -> WeightRecord:
        located = parse_source(self.source)
        if isinstance(located, HubRepository) and (self.revision is None or located.revision is not None):
            raise ValueError("a source on the Hub is hf-hub:org/name, with its 40-hex commit as `revision`")
        return self

    @property
    def location(self) -> Source:
        """Place of the bytes."""
        located = parse_source(self.source)
        return HubRepository(located.repo_id, self.revision) if isinstance(located, HubRepository) else located

    @property
    def repository(self) -> HubRepository | None:
        """Repository of the Hub that holds the same bytes, at its commit; None if no one is known."""
        if self.published is None:
            return self.location if isinstance(self.location, HubRepository) else None
        repo_id, _, revision = self.published.removeprefix("hf-hub:").partition("@")
        return HubRepository(repo_id, revision)

    def stored(self) -> StoredWeight:
        """Return the record without its source."""
        return StoredWeight.model_validate(self.model_dump(exclude={"source", "revision", "published"}))


@final
class VariantGroup(Record):
    """Names that belong together, in brace notation."""

    names: str
    note: str = ""


@final
class CatalogFile(Record):
    """Content of a registry.yaml."""

    version: Literal[1]
    variants: tuple[VariantGroup, ...] = ()
    weights: tuple[WeightRecord, ...] = ()

    @model_validator(mode="after")
    def _lists_names_and_each_weight_once(self) -> CatalogFile:
        variants = 0
        for group in self.variants:
            variants += len(expand_names(group.names))  # a ValueError for what is no name
            if variants > MAX_NAMES:
                raise ValueError(f"variants stand for more than {MAX_NAMES:,} names; list those that people look for")
        counts = Counter(record.name for record in self.weights)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return self


def complaints(error: ValidationError) -> str:
    """Write the first three complaints on one line, each with its field, its value if that is short, and the rule."""
    lines = []
    for fault in error.errors(include_url=False):
        place = ".".join(shorten(str(key)).strip("'") for key in fault["loc"])
        value = f" {shorten(str(fault['input']))}" if isinstance(fault["input"], str | int | float) else ""
        lines.append(f"{place}{value}: {fault['msg'].removeprefix('Value error, ')}".removeprefix(": "))
    return "; ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")


# Files ----------------------------------------------------------------------------------------------------------------

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one if PyYAML was built with libyaml


def expand_names(pattern: str) -> list[str]:
    """Expand a brace pattern to at most 1,000 names, in the order of the shell; raises `ModelNameError`."""
    try:
        names = bracex.expand(pattern) or [pattern]
    except bracex.ExpansionLimitException as error:
        raise ModelNameError(f"{shorten(pattern)} stands for too many names; write several patterns") from error
    for name in names:
        check_characters(name)
    return names


def _check_limits(content: bytes, path: Path) -> None:
    """Raise `CatalogError` for YAML that would take long to read; aliases multiply what is written."""
    if len(content) > MAX_BYTES:
        raise CatalogError(f"{path} has {len(content):,} bytes; valid: at most {MAX_BYTES:,}")
    entries = depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        entries += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if entries > MAX_ENTRIES or depth > MAX_DEPTH:
            raise CatalogError(
                f"{path} has more than {MAX_ENTRIES:,} entries or {MAX_DEPTH} levels; divide or flatten it"
            )
        if isinstance(event, yaml.AliasEvent):
            raise CatalogError(f"{path}: *{shorten(str(event.anchor))} is an alias; write its value out")


def read_file(path: Path) -> CatalogFile:
    """Read a registry.yaml; raises `CatalogError`, which names file and field, if it is not YAML of the schema."""
    try:
        content = path.read_bytes()
        _check_limits(content, path)
        return CatalogFile.model_validate(yaml.load(content, Loader=_LOADER))
    except CatalogError:
        raise
    except ValidationError as error:
        raise CatalogError(f"{path} does not follow the schema: {complaints(error)}") from error
    except Exception as error:  # PyYAML's constructors raise many a built-in one
        problem = " ".join(str(error).split())
        raise CatalogError(f"{path} cannot be read as YAML: {type(error).__name__}: {problem[:300]}") from error


def read_catalog(path: Path) -> Catalog:
    """Read the catalog of one file; raises `CatalogError`."""
    return Catalog([(read_file(path), str(path))])


def catalog_path() -> Path:
    """Return the zoo's own registry.yaml: inside an installed package, or at the root of a source tree."""
    package = Path(__file__).parents[1]
    installed = package / CATALOG_FILE
    return installed if installed.is_file() else package.parent / CATALOG_FILE


# The catalog ----------------------------------------------------------------------------------------------------------


@final
class Catalog:
    """Validated files, seen as one; earlier ones come first.

    Attributes:
        notes: name of a variant → what the file says of it.
        weights: name of a variant → its weights, the default first.
        origins: `variant.tag` → the distribution that lists it, or the path of a file that was read.
    """

    def __init__(self, files: Iterable[tuple[CatalogFile, str]] = ()) -> None:
        self.notes: dict[str, str] = {}
        self.weights: dict[str, list[WeightRecord]] = {}
        self.origins: dict[str, str] = {}
        for content, origin in files:
            self.add(content, origin)

    def add(self, content: CatalogFile, origin: str) -> None:
        """Add a file; a weight that is listed already stays as it is, unless only here its bytes are installed.

        Raises:
            CatalogError: it lists other bytes under a listed name; then nothing is added.
        """
        listed = {record.name: record.sha256 for records in self.weights.values() for record in records}
        for record in content.weights:
            if listed.get(record.name, record.sha256) != record.sha256:
                raise CatalogError(f"{origin} lists other bytes as {record.name} than {self.origins[record.name]} does")
        for group in content.variants:
            for name in expand_names(group.names):
                self.notes.setdefault(name, group.note)
        for record in content.weights:
            variant = plain_name(record.variant)
            self.notes.setdefault(variant, "")
            if record.name not in listed:
                self.weights.setdefault(variant, []).append(record)
                self.origins[record.name] = origin
            elif isinstance(record.location, PackageFile):
                self._prefer_installed(record, self.weights[variant], origin)

    def _prefer_installed(self, record: WeightRecord, listed: list[WeightRecord], origin: str) -> None:
        place = [weight.name for weight in listed].index(record.name)
        if isinstance(listed[place].location, HubRepository):
            listed[place] = record
            self.origins[record.name] = origin

    @property
    def names(self) -> list[str]:
        """All variants, in the order of the files."""
        return list(self.notes)

    def weights_of(self, spec: Spec) -> list[WeightRecord]:
        """List the weights of a variant, the default first, that were made by the distributions in its name."""
        texts = dict.fromkeys((spec.plain_text, plain_name(spec.text)))  # that may spell a default out: `zoo-x:if`
        listed = (record for text in texts for record in self.weights.get(text, []))
        return [record for record in listed if spec.distributions <= record.providers.keys()]

    def named(self, name: str) -> WeightRecord | None:
        """Find the weight of exactly this name, or the first one of a name without a tag; None if none is listed."""
        variant, _, tag = name.partition(".")
        return next((record for record in self.weights.get(variant, []) if tag in ("", record.tag)), None)

    def weight(self, spec: Spec) -> WeightRecord:
        """Return the weight of a spec's tag, or the first one; raises `ModelNameError`."""
        listed = self.weights_of(spec)
        for record in listed:
            if spec.tag in (None, record.tag):
                return record
        what = f"weight {shorten(spec.tag)}" if listed and spec.tag else "pretrained weights"
        lacks = f"{spec.text} has no {what}"
        if spec.distributions <= {OURS} and (missing := missing_weight(spec.plain_text, spec.tag)):
            raise ModelNameError(f"{lacks} here: {missing}; `pretrained=False` builds it untrained")
        if listed:
            tags = [record.tag for record in listed]
            raise ModelNameError(f"{lacks}{suggest(str(spec.tag), tags)} (tags: {', '.join(tags)})")
        raise ModelNameError(f"{lacks}; `zoo list --pretrained` names those; `pretrained=False` builds it untrained")


@functools.cache
def default_catalog() -> Catalog:
    """Return the zoo's own catalog joined with those of installed plugins, read once a process.

    A plugin's catalog that cannot be used is left out with a warning, and `zoo plugins` shows the reason.
    """
    catalog = Catalog([(read_file(catalog_path()), OURS)])
    for component in default_registry().components("catalog"):
        try:
            catalog.add(read_file(component.load()), component.distribution)
        except (CatalogError, ComponentError) as error:
            component.error = component.error or str(error)
            warnings.warn(f"the catalog of {component.origin} is left out: {component.error}", ZooWarning, stacklevel=2)
    return catalog
