"""registry.yaml of all installed packages (group `zoo.catalogs`), seen as one catalog. Loads no torch.

The names in a file are found without parsing it; a record is parsed and validated when it is asked for.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import bracex
import yaml
from pydantic import ValidationError, model_validator

from zoo.catalog.records import Record, StoredWeight, WeightRecord, complaints
from zoo.errors import CatalogError, ComponentError, ModelNameError, ZooWarning, shorten, suggest
from zoo.names import Spec, check_characters, plain_name
from zoo.registry.components import CATALOG_FILE, OURS, Registry, default_registry, parse_stored
from zoo.registry.installing import missing_weight

MAX_BYTES, MAX_DEPTH = 64 << 20, 50
"""Limits of a registry.yaml: bytes, and levels of nesting, which the parser's stack has to hold."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one if PyYAML was built with libyaml
_FIRST_WEIGHT = re.compile(rb"^weights:[ \t]*\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)-( +)(?=[a-z_]+:)", re.M)
_INDEXED = ("variant", "tag", "sha256", "source")
_TOP_LEVEL_KEY = re.compile(rb"\n[A-Za-z_]")
_SCALAR = re.compile(rb" +(['\"]?)([^\s'\"#]+)\1 *\r?")

# Files ----------------------------------------------------------------------------------------------------------------


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
        for group in self.variants:
            expand_names(group.names)  # a ValueError for what is no name
        _check_unique(record.name for record in self.weights)
        return self

    @property
    def entries(self) -> tuple[Entry, ...]:
        """An entry for each weight, as `FileNames` has them."""
        return tuple(map(_entry_of, self.weights))


@final
@dataclass
class Entry:
    """A weight of a file: what its place among others depends on, and its record once that was asked for."""

    variant: str
    tag: str
    sha256: str
    source: str
    read: Callable[[], WeightRecord]

    @property
    def name(self) -> str:
        """`variant.tag`."""
        return f"{self.variant}.{self.tag}"

    @functools.cached_property
    def record(self) -> WeightRecord:
        """The validated record; raises `CatalogError`."""
        return self.read()


@final
@dataclass(frozen=True)
class FileNames:
    """What a registry.yaml lists: its variants, and an entry for each weight."""

    variants: tuple[VariantGroup, ...]
    entries: tuple[Entry, ...]


def expand_names(pattern: str) -> list[str]:
    """Expand a brace pattern to at most 1,000 names, in the order of the shell; raises `ModelNameError`."""
    try:
        names = bracex.expand(pattern) or [pattern]
    except bracex.ExpansionLimitException as error:
        raise ModelNameError(f"{shorten(pattern)} stands for too many names; write several patterns") from error
    for name in names:
        check_characters(name)
    return names


def _check_unique(names: Iterable[str]) -> None:
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise ValueError(f"listed twice: {', '.join(twice)}")


def _parse(text: bytes, path: Path) -> Any:
    """Parse YAML without aliases, which multiply what is written; raises `CatalogError` in one line."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise CatalogError(f"{path} has more than {MAX_DEPTH} levels; flatten it")
            if isinstance(event, yaml.AliasEvent):
                raise CatalogError(f"{path}: *{shorten(str(event.anchor))} is an alias; write its value out")
        return yaml.load(text, Loader=_LOADER)
    except CatalogError:
        raise
    except Exception as error:  # PyYAML's constructors raise many a built-in one
        problem = " ".join(str(error).split())
        raise CatalogError(f"{path} cannot be read as YAML: {type(error).__name__}: {problem[:300]}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror or error}") from error
    if size > MAX_BYTES:
        raise CatalogError(f"{path} has {size:,} bytes; valid: at most {MAX_BYTES:,}")
    return content


def _validate(content: Any, path: Path) -> CatalogFile:
    try:
        return CatalogFile.model_validate(content)
    except ValidationError as error:
        raise CatalogError(f"{path} does not follow the schema: {complaints(error)}") from error


def read_file(path: Path) -> CatalogFile:
    """Read and validate a registry.yaml; raises `CatalogError`, which names file and field."""
    return _validate(_parse(_read_bytes(path), path), path)


def read_names(path: Path) -> FileNames:
    """Read what a registry.yaml lists, without its records if its weights are a block list, as in every one of ours.

    Raises:
        CatalogError: it is not YAML of the schema, as far as it is read.
    """
    content = _read_bytes(path)
    found = _FIRST_WEIGHT.search(content)
    if found is None:
        whole = _validate(_parse(content, path), path)
        return FileNames(whole.variants, whole.entries)
    start = found.start(1)
    following = _TOP_LEVEL_KEY.search(content, start)
    end = following.start() if following else len(content)
    head = _validate(_parse(content[: found.start()] + content[end:], path), path)
    level = found[1] + b" " + found[2]
    entries = [_entry(item, level, path) for item in _items(content[start:end], found[1])]
    try:
        _check_unique(entry.name for entry in entries)
    except ValueError as error:
        raise CatalogError(f"{path} does not follow the schema: {error}") from error
    return FileNames(head.variants, tuple(entries))


def _items(text: bytes, indent: bytes) -> list[bytes]:
    """Divide a block list with this indent into its items, each without its dash."""
    return [indent + b"  " + item for item in (b"\n" + text).split(b"\n" + indent + b"- ")[1:]]


def _entry(item: bytes, level: bytes, path: Path) -> Entry:
    keys = {key: _scalar(b"\n" + item, b"\n" + level + key.encode() + b":") for key in _INDEXED}
    read = functools.partial(_read_record, item, path)
    if all(keys[key] for key in ("variant", "tag", "sha256")):
        return Entry(**keys, read=read)
    return _entry_of(read())


def _scalar(item: bytes, key: bytes) -> str:
    """Read the value of a key that stands in a line of its own; '' if there is none of that form."""
    start = item.find(key)
    if start < 0:
        return ""
    end = item.find(b"\n", start + 1)
    found = _SCALAR.fullmatch(item[start + len(key) : end if end >= 0 else len(item)])
    return found[2].decode() if found else ""


def _read_record(text: bytes, path: Path) -> WeightRecord:
    content = _parse(text, path)
    try:
        return WeightRecord.model_validate(content)
    except ValidationError as error:
        keys = (content.get("variant"), content.get("tag")) if isinstance(content, dict) else ()
        name = shorten(".".join(map(str, keys)))
        raise CatalogError(f"{path} does not follow the schema, in {name}: {complaints(error)}") from error


def _entry_of(record: WeightRecord) -> Entry:
    return Entry(record.variant, record.tag, record.sha256, record.source, lambda: record)


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

    def __init__(self, entries: Mapping[str, list[Entry]], read: Callable[[Entry], WeightRecord | None]) -> None:
        self._entries, self._read = entries, read

    def __getitem__(self, variant: str) -> list[WeightRecord]:
        return [record for entry in self._entries[variant] if (record := self._read(entry)) is not None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


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
        self._entries: dict[str, list[Entry]] = {}
        self._by_name: dict[str, Entry] = {}
        self.weights: Mapping[str, list[WeightRecord]] = _Weights(self._entries, self._record)
        for content, origin in files:
            self.add(content, origin)

    def add(self, content: CatalogFile | FileNames, origin: str) -> None:
        """Add a file; a weight that is listed already stays as it is, unless only here its bytes are installed.

        Raises:
            CatalogError: it lists other bytes under a listed name; then nothing is added.
        """
        entries = content.entries
        for entry in entries:
            if entry.name in self._by_name and self._by_name[entry.name].sha256 != entry.sha256:
                raise CatalogError(f"{origin} lists other bytes as {entry.name} than {self.origins[entry.name]} does")
        for group in content.variants:
            for name in expand_names(group.names):
                self.notes.setdefault(name, group.note)
        for entry in entries:
            self._add_entry(entry, origin)

    def _add_entry(self, entry: Entry, origin: str) -> None:
        variant, before = plain_name(entry.variant), self._by_name.get(entry.name)
        self.notes.setdefault(variant, "")
        entries = self._entries.setdefault(variant, [])
        if before is None:
            entries.append(entry)
        elif before.source.startswith("hf-hub:") and entry.source.startswith("package:"):
            entries[entries.index(before)] = entry
        else:
            return
        self._by_name[entry.name] = entry
        self.origins[entry.name] = origin

    def _record(self, entry: Entry) -> WeightRecord | None:
        """Return the record of an entry; None, with a warning, if it is malformed."""
        try:
            record = entry.record
            return self._with_source(record) if record.tensors_of and not record.source else record
        except CatalogError as error:
            warnings.warn(f"{entry.name} is left out: {error}", ZooWarning, stacklevel=2)
            return None

    def _with_source(self, record: WeightRecord) -> WeightRecord:
        """Return a record with the source of the weight whose file it reads; raises `CatalogError`."""
        owner = self._by_name.get(record.tensors_of)
        if owner is None:
            variant, _, tag = record.tensors_of.partition(".")
            advice = missing_weight(variant, tag) or "no catalog lists it"
            raise CatalogError(f"it reads the tensors of {shorten(record.tensors_of)}; {advice}")
        theirs = owner.record
        if not theirs.source or (theirs.sha256, theirs.size) != (record.sha256, record.size):
            raise CatalogError(f"it names the tensors of {theirs.name}, whose file has another sha256 or size, or none")
        return record.model_copy(update={"source": theirs.source, "revision": theirs.revision})

    @property
    def names(self) -> list[str]:
        """All variants, in the order of the files."""
        return list(self.notes)

    def names_of_weights(self, variant: str) -> list[str]:
        """List `variant.tag` of the weights of a variant, without their records."""
        return [entry.name for entry in self._entries.get(variant, [])]

    def weights_of(self, spec: Spec) -> list[WeightRecord]:
        """List the weights of a variant, the default first, that were made by the distributions in its name."""
        texts = dict.fromkeys((spec.plain_text, plain_name(spec.text)))  # that may spell a default out: `zoo-x:if`
        listed = (record for text in texts for record in self.weights.get(text, []))
        return [record for record in listed if spec.distributions <= record.providers.keys()]

    def named(self, name: str) -> WeightRecord | None:
        """Find the weight of exactly this name, or the first one of a name without a tag; None if none is listed."""
        variant, _, tag = name.partition(".")
        entries = (entry for entry in self._entries.get(variant, []) if tag in ("", entry.tag))
        return next((record for entry in entries if (record := self._record(entry)) is not None), None)

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
