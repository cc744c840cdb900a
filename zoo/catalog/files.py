"""registry.yaml of all installed packages (group `zoo.catalogs`), seen as one catalog. Loads no torch.

A record is validated when it is asked for, so that a malformed one hides itself alone.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, final

import bracex
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from zoo.catalog.records import Record, StoredWeight, WeightRecord, complaints
from zoo.errors import CatalogError, ComponentError, ModelNameError, ZooWarning, shorten, suggest
from zoo.names import Spec, check_characters, plain_name
from zoo.registry.components import CATALOG_FILE, OURS, Registry, default_registry, parse_stored
from zoo.registry.installing import missing_weight

MAX_BYTES, MAX_DEPTH = 64 << 20, 50
"""Limits of a registry.yaml: bytes, and levels of nesting, which the parser's stack has to hold."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one if PyYAML was built with libyaml

# Files ----------------------------------------------------------------------------------------------------------------


@final
class VariantGroup(Record):
    """Names that belong together, in brace notation."""

    names: str
    note: str = ""


@final
class Entry(BaseModel):
    """A weight of a file, of which only what its place among others depends on is validated yet."""

    model_config = ConfigDict(extra="allow", frozen=True)

    variant: str
    tag: str
    sha256: str
    source: str = ""

    @property
    def name(self) -> str:
        """`variant.tag`."""
        return f"{self.variant}.{self.tag}"


Listed = Entry | WeightRecord
Weight = TypeVar("Weight", Entry, WeightRecord)
Schema = TypeVar("Schema", bound=BaseModel)


class _File(Record, Generic[Weight]):
    version: Literal[1]
    variants: tuple[VariantGroup, ...] = ()
    weights: tuple[Weight, ...] = ()

    @model_validator(mode="after")
    def _lists_names_and_each_weight_once(self) -> Self:
        for group in self.variants:
            expand_names(group.names)  # a ValueError for what is no name
        counts = Counter(weight.name for weight in self.weights)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return self


CatalogFile = _File[WeightRecord]
"""Content of a registry.yaml."""
FileNames = _File[Entry]
"""The same, its records as they stand there."""


def expand_names(pattern: str) -> list[str]:
    """Expand a brace pattern to at most 1,000 names, in the order of the shell; raises `ModelNameError`."""
    try:
        names = bracex.expand(pattern) or [pattern]
    except bracex.ExpansionLimitException as error:
        raise ModelNameError(f"{shorten(pattern)} stands for too many names; write several patterns") from error
    for name in names:
        check_characters(name)
    return names


def _parse(text: bytes, path: Path) -> Any:
    """Parse YAML; raises `CatalogError` in one line."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise CatalogError(f"{path} has more than {MAX_DEPTH} levels; flatten it")
        return yaml.load(text, Loader=_LOADER)
    except CatalogError:
        raise
    except Exception as error:  # PyYAML's constructors raise many a built-in one
        problem = " ".join(str(error).split())
        raise CatalogError(f"{path} cannot be read as YAML: {type(error).__name__}: {problem[:300]}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise CatalogError(f"{path} has {len(content):,} bytes; valid: at most {MAX_BYTES:,}")
    return content


def read_file(path: Path) -> CatalogFile:
    """Read and validate a registry.yaml; raises `CatalogError`, which names file and field."""
    return _validate(CatalogFile, _parse(_read_bytes(path), path), f"{path} does not follow the schema: ")


def read_names(path: Path) -> FileNames:
    """Read what a registry.yaml lists, its records as they stand there; raises `CatalogError` as `read_file` does."""
    return _validate(FileNames, _parse(_read_bytes(path), path), f"{path} does not follow the schema: ")


def _validate(schema: type[Schema], content: Any, beginning: str = "") -> Schema:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise CatalogError(f"{beginning}{complaints(error)}") from error


def _validated(weight: Listed) -> WeightRecord:
    if isinstance(weight, WeightRecord):
        return weight
    return _validate(WeightRecord, weight.model_dump(exclude_unset=True))


def read_catalog(path: Path) -> Catalog:
    """Read the catalog of one file, every record of it; raises `CatalogError`."""
    return Catalog([(read_file(path), str(path))])


def catalog_path() -> Path:
    """Return the zoo's own registry.yaml: inside an installed package, or at the root of a source tree."""
    package = Path(__file__).parents[1]
    installed = package / CATALOG_FILE
    return installed if installed.is_file() else package.parent / CATALOG_FILE


# The catalog ----------------------------------------------------------------------------------------------------------


@final
class _Weights(Mapping[str, list[WeightRecord]]):
    """Name of a variant → its weights, validated when asked for; a malformed one is left out with a warning."""

    def __init__(self, listed: Mapping[str, list[Listed]], read: Callable[[Listed], WeightRecord | None]) -> None:
        self._listed, self._read = listed, read

    def __getitem__(self, variant: str) -> list[WeightRecord]:
        return [record for weight in self._listed[variant] if (record := self._read(weight)) is not None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


@final
class Catalog:
    """Files, seen as one; earlier ones come first.

    Attributes:
        notes: name of a variant → what the file says of it.
        weights: name of a variant → its weights, the default first.
        origins: `variant.tag` → the distribution that lists it, or the path of a file that was read.
    """

    def __init__(self, files: Iterable[tuple[CatalogFile | FileNames, str]] = ()) -> None:
        self.notes: dict[str, str] = {}
        self.origins: dict[str, str] = {}
        self._listed: dict[str, list[Listed]] = {}
        self._by_name: dict[str, Listed] = {}
        self.weights: Mapping[str, list[WeightRecord]] = _Weights(self._listed, self._record)
        for content, origin in files:
            self.add(content, origin)

    def add(self, content: CatalogFile | FileNames, origin: str) -> None:
        """Add a file; a weight that is listed already stays as it is, unless only here its bytes are installed.

        Raises:
            CatalogError: it lists other bytes under a listed name; then nothing is added.
        """
        for weight in content.weights:
            before = self._by_name.get(weight.name)
            if before is not None and before.sha256 != weight.sha256:
                raise CatalogError(f"{origin} lists other bytes as {weight.name} than {self.origins[weight.name]} does")
        for group in content.variants:
            for name in expand_names(group.names):
                self.notes.setdefault(name, group.note)
        for weight in content.weights:
            self._add_weight(weight, origin)

    def _add_weight(self, weight: Listed, origin: str) -> None:
        variant, before = plain_name(weight.variant), self._by_name.get(weight.name)
        self.notes.setdefault(variant, "")
        listed = self._listed.setdefault(variant, [])
        if before is None:
            listed.append(weight)
        elif before.source.startswith("hf-hub:") and weight.source.startswith("package:"):
            listed[listed.index(before)] = weight
        else:
            return
        self._by_name[weight.name] = weight
        self.origins[weight.name] = origin

    def _record(self, weight: Listed) -> WeightRecord | None:
        """Return the record of a listed weight; None, with a warning, if it is malformed."""
        try:
            record = _validated(weight)
            return self._with_source(record) if record.tensors_of and not record.source else record
        except CatalogError as error:
            origin = self.origins[weight.name]
            warnings.warn(f"{weight.name} of {origin} is left out: {error}", ZooWarning, stacklevel=2)
            return None

    def _with_source(self, record: WeightRecord) -> WeightRecord:
        """Return a record with the source of the weight whose file it reads; raises `CatalogError`."""
        owner = self._by_name.get(record.tensors_of)
        if owner is None:
            variant, _, tag = record.tensors_of.partition(".")
            advice = missing_weight(variant, tag) or "no catalog lists it"
            raise CatalogError(f"it reads the tensors of {shorten(record.tensors_of)}; {advice}")
        theirs = _validated(owner)
        if not theirs.source or (theirs.sha256, theirs.size) != (record.sha256, record.size):
            raise CatalogError(f"it names the tensors of {theirs.name}, whose file has another sha256 or size, or none")
        return record.model_copy(update={"source": theirs.source, "revision": theirs.revision})

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
        listed = (weight for weight in self._listed.get(variant, []) if tag in ("", weight.tag))
        return next((record for weight in listed if (record := self._record(weight)) is not None), None)

    def weight(self, spec: Spec) -> WeightRecord:
        """Return the weight of a spec's tag, or the first one; raises `ModelNameError`."""
        for record in self.weights_of(spec):
            if spec.tag in (None, record.tag):
                return record
        raise self.no_weight(spec)

    def no_weight(self, spec: Spec) -> ModelNameError:
        """Make the error for a weight that is not listed."""
        tags = [record.tag for record in self.weights_of(spec)]
        what = f"weight {shorten(spec.tag)}" if tags and spec.tag else "pretrained weights"
        lacks = f"{spec.text} has no {what}"
        if spec.distributions <= {OURS} and (missing := missing_weight(spec.plain_text, spec.tag)):
            return ModelNameError(f"{lacks} here: {missing}; `pretrained=False` builds it untrained")
        if tags:
            return ModelNameError(f"{lacks}{suggest(str(spec.tag), tags)} (tags: {', '.join(tags)})")
        return ModelNameError(f"{lacks}; `zoo list --pretrained` names those; `pretrained=False` builds it untrained")


@functools.cache
def default_catalog() -> Catalog:
    """Return the zoo's own catalog joined with those of installed plugins, read once a process.

    A plugin's catalog that cannot be used is left out with a warning, and `zoo plugins` shows the reason.
    """
    catalog, problems = _join(read_names)
    for origin, problem in problems.items():
        warnings.warn(f"the catalog of {origin} is left out: {problem}", ZooWarning, stacklevel=2)
    return catalog


def catalog_problems() -> dict[str, str]:
    """Validate every record of every installed catalog; return `Component.origin` → why it cannot be used."""
    return _join(read_file)[1]


def _join(read: Callable[[Path], CatalogFile | FileNames]) -> tuple[Catalog, dict[str, str]]:
    """Join all installed catalogs, and say which cannot be used."""
    catalog, problems = Catalog([(read(catalog_path()), OURS)]), {}
    for component in default_registry().components("catalog"):
        try:
            catalog.add(read(component.load()), component.distribution)
        except (CatalogError, ComponentError) as error:
            problems[component.origin] = str(error)
    return catalog, problems


def stored_spec(weight: StoredWeight, registry: Registry | None = None) -> Spec:
    """Return the spec of a record, of components from the packages that it names; raises as `parse_name` does."""
    return weight.spec_of(parse_stored(weight.variant, weight.providers, weight.components, registry)[1])
