"""registry.yaml: named variants, measured figures and weights; its schema and the questions asked of it.

Reading the catalog loads no torch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from braceexpand import braceexpand
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.composition import DEFAULT_CLASSES, build_model, parse_name
from zoo.errors import CatalogError, ComponentError, ModelNameError, OptionError, TagError, shorten, suggest
from zoo.names import Spec, Value, check_characters
from zoo.registry import GROUPS, default_registry

FILE = "registry.yaml"
PACKAGE_SOURCE = re.compile(r"package:[a-z_][a-z0-9_.]*/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*\.safetensors")
HUB_SOURCE = re.compile(r"hf-hub:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")

_Strict = ConfigDict(extra="forbid", frozen=True)
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Preprocessing(BaseModel):
    """From a decoded image to the model's input; pixels go to [0, 1], without mean or std."""

    model_config = _Strict

    size: int = Field(ge=1, description="pixels a side of the input")
    resize: Literal["shorter-side"] = "shorter-side"
    crop: Literal["center"] = "center"
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"


class Figures(BaseModel):
    """What one forward pass costs; recomputed by a test."""

    model_config = _Strict

    params: int = Field(ge=0)
    image_size: int = Field(ge=1)
    timesteps: int = Field(ge=1)
    macs: int = Field(ge=0, description="multiply-accumulates of all timesteps")
    macs_per_timestep: int = Field(ge=0, description="analog + spiking / T, the paper's convention")


class WeightRecord(BaseModel):
    """One published weight, `variant.tag`."""

    model_config = _Strict

    variant: str
    tag: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    source: str
    revision: Revision | None = None
    sha256: Sha256
    size: int = Field(ge=1, description="bytes")
    license: str = Field(min_length=1)
    dataset: str
    dataset_license: str
    dataset_attribution: str
    dataset_note: str = ""
    labels: tuple[str, ...] = Field(min_length=1)
    in_chans: int = Field(default=3, ge=1)
    preprocessing: Preprocessing
    recipe: str
    epochs: int = Field(ge=1)
    seed: int
    metrics: dict[str, float]
    spec: dict[str, Any]
    providers: dict[str, str] = Field(description="distribution → version it was trained with")
    figures: Figures

    @model_validator(mode="after")
    def _spec_is_the_variants(self) -> WeightRecord:
        if self.spec.get("name") != self.variant:
            raise ValueError(f"the spec is of {self.spec.get('name')!r}, not of {self.variant!r}")
        return self

    @model_validator(mode="after")
    def _source_is_safe(self) -> WeightRecord:
        if not (PACKAGE_SOURCE.fullmatch(self.source) or HUB_SOURCE.fullmatch(self.source)) or ".." in self.source:
            raise ValueError(f"source {self.source!r} is neither package:module/file.safetensors nor hf-hub:org/name")
        if self.source.startswith("hf-hub:") and self.revision is None:
            raise ValueError("a weight on the Hub needs its 40-hex revision")
        return self

    @property
    def name(self) -> str:
        """`variant.tag`."""
        return f"{self.variant}.{self.tag}"

    @property
    def num_classes(self) -> int:
        """One for each label."""
        return len(self.labels)

    def spec_of(self, spec: Spec) -> Spec:
        """The spec with this weight's tag."""
        return replace(spec, tag=self.tag)


class VariantGroup(BaseModel):
    """Names that belong together, in brace notation."""

    model_config = _Strict

    names: str
    note: str = ""


class CatalogFile(BaseModel):
    """The whole of registry.yaml."""

    model_config = _Strict

    version: Literal[1]
    variants: tuple[VariantGroup, ...]
    weights: tuple[WeightRecord, ...] = ()


def _expand(pattern: str) -> list[str]:
    """The names of a brace pattern, checked for characters that no name has."""
    try:
        names = list(braceexpand(pattern))
    except ValueError as error:
        raise ModelNameError(f"{shorten(pattern)}: {error}") from error
    for name in names:
        check_characters(name)
    return names


class Catalog:
    """A validated registry.yaml."""

    def __init__(self, content: CatalogFile, origin: str) -> None:
        self.origin = origin
        self.notes = {name: group.note for group in content.variants for name in _expand(group.names)}
        self.weights: dict[str, list[WeightRecord]] = {}
        for record in content.weights:
            listed = self.weights.setdefault(record.variant, [])
            if record.tag in (other.tag for other in listed):
                raise CatalogError(f"{origin}: the weight {record.name} is listed twice")
            listed.append(record)
            self.notes.setdefault(record.variant, "")

    @property
    def names(self) -> list[str]:
        """All variants, in the order of the file."""
        return list(self.notes)

    def weights_of(self, spec: Spec) -> list[WeightRecord]:
        """The weights of a variant, the default one first; made by the distributions that the name asks for."""
        return [r for r in self.weights.get(spec.plain_text, []) if spec.distributions <= r.providers.keys()]

    def weight(self, spec: Spec) -> WeightRecord:
        """The weight that a spec asks for: its tag's, or the first one.

        Raises:
            TagError: none, or not that one; the message names the tags there are.
        """
        listed = self.weights_of(spec)
        if not listed:
            others = sorted(record.name for records in self.weights.values() for record in records)
            have = f"; variants with weights: {', '.join(others)}" if others else ""
            raise TagError(f"{spec.text} has no pretrained weights{have}; pretrained=False builds it untrained")
        if spec.tag is None:
            return listed[0]
        for record in listed:
            if record.tag == spec.tag:
                return record
        tags = [record.tag for record in listed]
        raise TagError(
            f"{spec.text} has no weight {shorten(spec.tag)}{suggest(spec.tag, tags)} (tags: {', '.join(tags)})"
        )


def read_catalog(path: Path) -> Catalog:
    """Read and validate a registry.yaml.

    Raises:
        CatalogError: not YAML, or not of the schema; the message names file and place.
    """
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        return Catalog(CatalogFile.model_validate(content), str(path))
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        raise CatalogError(f"{path} does not follow the schema: {error}") from error
    except ModelNameError as error:
        raise CatalogError(f"{path} names no models: {error}") from error


def catalog_path() -> Path:
    """The zoo's own registry.yaml: inside an installed package, at the root of a source tree."""
    package = Path(__file__).parent
    installed = package / FILE
    return installed if installed.is_file() else package.parent / FILE


@functools.cache
def default_catalog() -> Catalog:
    """The zoo's own catalog, read once a process."""
    return read_catalog(catalog_path())


def list_models(
    filter: str = "*",
    *,
    family: str | None = None,
    backbone: str | None = None,
    encoder: str | None = None,
    decoder: str | None = None,
    neuron: str | None = None,
    pretrained: bool = False,
) -> list[str]:
    """Names of the catalog's variants, in its order; with `pretrained`, `variant.tag` of every weight.

    Args:
        filter: shell pattern (`has8_*`) of the variant's name; with `pretrained` of the tagged one too.
        family: of that family; likewise backbone, encoder, decoder and neuron.
        pretrained: those with weights alone.

    Raises:
        UnknownComponentError: for a component that nobody offers.
    """
    if not isinstance(filter, str):
        raise OptionError(f"filter must be a shell pattern such as 'has8_*', not {filter!r}")
    wanted: dict[str, str | None] = {
        "family": family,
        "backbone": backbone,
        "encoder": encoder,
        "decoder": decoder,
        "neuron": neuron,
    }
    chosen = {kind: name for kind, name in wanted.items() if name is not None}
    registry = default_registry()
    for kind, name in chosen.items():
        if name not in registry.names(kind):
            registry.find(kind, name)  # says what there is
    catalog = default_catalog()
    found = [name for name in catalog.names if not chosen or _matches(name, chosen)]
    if not pretrained:
        return [name for name in found if fnmatchcase(name, filter)]
    records = [record for name in found for record in catalog.weights.get(name, [])]
    return [record.name for record in records if any(fnmatchcase(n, filter) for n in (record.name, record.variant))]


def _matches(name: str, chosen: Mapping[str, str]) -> bool:
    try:
        spec = parse_name(name)
    except (ModelNameError, ComponentError):  # a missing or broken plugin hides its own models, not the others
        return False
    fields: dict[str, Value] = {"family": spec.family, **dict(spec.fields)}
    return all(fields.get(kind) == wanted.rpartition(":")[2] for kind, wanted in chosen.items())


def model_info(name: str) -> dict[str, Any]:
    """All that is known of a model name, as JSON: its parts, who provides them, size, and its weights.

    Any valid name has an answer, listed or not. Builds the network without allocating it, so torch is loaded.

    Raises:
        ModelNameError: as `parse_name`.
        TagError: an unknown tag.
    """
    import torch

    spec = parse_name(name)
    catalog = default_catalog()
    records = [catalog.weight(spec)] if spec.tag else catalog.weights_of(spec)
    classes = records[0].num_classes if records else DEFAULT_CLASSES
    with torch.device("meta"):
        model = build_model(spec, classes)
    return {
        "name": str(spec),
        "family": spec.family,
        "fields": dict(spec.fields),
        "listed": spec.text in catalog.notes,
        "note": catalog.notes.get(spec.text, ""),
        "params": sum(p.numel() for p in model.parameters()),
        "num_classes": classes,
        "timesteps": model.timesteps,
        "num_features": model.num_features,
        "min_image_size": model.min_image_size,
        "components": _providers(spec),
        "weights": [record.model_dump(mode="json") | {"name": record.name} for record in records],
    }


def _providers(spec: Spec) -> list[dict[str, str | None]]:
    registry = default_registry()
    used = [("family", spec.family)] + [(kind, str(value)) for kind, value in spec.fields if kind in GROUPS]
    found = [registry.find(kind, name) for kind, name in used]
    return [{"kind": c.kind, "name": c.name, "distribution": c.distribution, "version": c.version} for c in found]
