"""The catalog, registry.yaml and those of plugins: named variants, figures and weights, and questions asked of them.

Reading the catalog loads no torch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import bracex
from pydantic import ValidationError

from zoo.catalog.schema import CatalogFile, WeightRecord, complaints
from zoo.catalog.strict_yaml import MAX_BYTES, parse_yaml
from zoo.errors import CatalogError, ComponentError, ModelNameError, TagError, missing_weight, shorten, suggest
from zoo.names import Spec, check_characters, plain_name
from zoo.registry import CATALOG_FILE, DISABLE, OURS, State, default_registry

MAX_NAMES = 10_000
"""Names that the variants of one file may stand for."""

_MAX_NAMES_OF_PATTERN = 1_000
_MAX_PATTERN_LENGTH = 1_000
_MAX_BRACES = 8  # inside each other


def expand_names(pattern: str) -> list[str]:
    """The names of a brace pattern, in the order of the shell: `b{8,16}_d{1..3}`.

    Raises:
        ModelNameError: it stands for too many names, or for none, or the shell and its imitations disagree about it.
    """
    _check_braces(pattern)
    try:
        names = bracex.expand(pattern, limit=_MAX_NAMES_OF_PATTERN)
    except bracex.ExpansionLimitException as error:
        problem = f"{shorten(pattern)} stands for more than {_MAX_NAMES_OF_PATTERN:,} names; write several patterns"
        raise ModelNameError(problem) from error
    for name in names or [pattern]:  # of an empty pattern there are none
        check_characters(name)
    return names


def _check_braces(pattern: str) -> None:
    """Refuse what brace expansions understand differently, and what is too long or too deep for one."""
    if len(pattern) > _MAX_PATTERN_LENGTH:
        raise ModelNameError(
            f"{shorten(pattern)} is longer than {_MAX_PATTERN_LENGTH:,} characters; write several patterns"
        )
    if odd := re.search(r"[\\$]|\{\}|\{,|,,|,\}", pattern):
        raise ModelNameError(
            f"{shorten(pattern)} has {odd.group()!r} at position {odd.start()}; in braces stand two or more names "
            "between commas, none of them empty, or a range such as 1..3"
        )
    depth = 0
    for character in pattern:
        depth += (character == "{") - (character == "}")
        if not 0 <= depth <= _MAX_BRACES:
            break
    if depth > _MAX_BRACES:
        raise ModelNameError(f"{shorten(pattern)} has braces more than {_MAX_BRACES} deep; write several patterns")
    if depth:
        raise ModelNameError(f"{shorten(pattern)} has unbalanced braces; close every brace that is opened")


@final
class Catalog:
    """Validated files, seen as one; earlier ones come first.

    Two files that list different bytes under one `variant.tag` clash, and say so when that weight is used.
    """

    def __init__(self, files: Iterable[tuple[CatalogFile, str]]) -> None:
        self.notes: dict[str, str] = {}
        self.weights: dict[str, list[WeightRecord]] = {}
        self._origins: dict[str, str] = {}
        self._clashes: dict[str, list[str]] = {}
        for content, origin in files:
            self._add_variants(content)
            for record in content.weights:
                self._add(record, origin)

    def _add_variants(self, content: CatalogFile) -> None:
        count = 0
        for group in content.variants:
            names = expand_names(group.names)
            count += len(names)
            if count > MAX_NAMES:
                raise ModelNameError(f"its variants stand for more than {MAX_NAMES:,} names; list fewer")
            for name in names:
                self.notes.setdefault(name, group.note)

    def _add(self, record: WeightRecord, origin: str) -> None:
        variant = plain_name(record.variant)
        listed = self.weights.setdefault(variant, [])
        same = next((other for other in listed if other.tag == record.tag), None)
        if same is None:
            listed.append(record)
            self._origins[record.name] = origin
            self.notes.setdefault(variant, "")
        elif origin == self._origins[record.name]:
            raise CatalogError(f"{origin}: the weight {record.name} is listed twice")
        elif same.sha256 != record.sha256:
            self._clashes.setdefault(record.name, [self._origins[record.name]]).append(origin)

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
        for record in listed:
            if spec.tag in (None, record.tag):
                return self._unambiguous(record)
        what = f"weight {shorten(spec.tag)}" if listed and spec.tag else "pretrained weights"
        lacks = f"{spec.text} has no {what}"
        if spec.distributions <= {OURS} and (missing := missing_weight(spec.plain_text, spec.tag)):
            raise TagError(f"{lacks} here: {missing}; pretrained=False builds it untrained")
        if listed:
            tags = [record.tag for record in listed]
            raise TagError(f"{lacks}{suggest(str(spec.tag), tags)} (tags: {', '.join(tags)})")
        others = sorted(record.name for records in self.weights.values() for record in records)
        have = f"; variants with weights: {', '.join(others)}" if others else ""
        raise TagError(f"{lacks}{have}; pretrained=False builds it untrained")

    def _unambiguous(self, record: WeightRecord) -> WeightRecord:
        if record.name in self._clashes:
            raise TagError(self._clash(record.name))
        return record

    def origin_of(self, record: WeightRecord) -> str:
        """Who lists a weight: `has8-zoo`, a plugin as `Component.origin` says it, or the file that was read."""
        return self._origins[record.name]

    def clashes_of(self, origin: str) -> list[str]:
        """What is wrong with the weights that an origin lists under another one's names."""
        return [self._clash(name) for name, origins in self._clashes.items() if origin in origins]

    def _clash(self, name: str) -> str:
        origins = " and ".join(self._clashes[name])
        return f"{name} stands for different bytes in {origins}; uninstall one, or switch it off with {DISABLE}"


def read_file(path: Path) -> CatalogFile:
    """Read and validate a registry.yaml.

    Raises:
        CatalogError: too large, not YAML, or not of the schema; the message names file and place.
    """
    parsed = _parse(path)
    try:
        content = CatalogFile.model_validate(parsed)
        Catalog([(content, str(path))])  # names that are none, weights listed twice
    except ValidationError as error:
        raise CatalogError(f"{path} does not follow the schema: {complaints(error)}") from error
    except ModelNameError as error:
        raise CatalogError(f"{path} names no models: {error}") from error
    return content


def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # one more, so that it is known to be too large; the rest is never read
        return parse_yaml(data)
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    except CatalogError as error:
        raise CatalogError(f"{path} {error}") from error.__cause__


def read_catalog(path: Path) -> Catalog:
    """The catalog of one file; raises `CatalogError`."""
    return Catalog([(read_file(path), str(path))])


def catalog_path() -> Path:
    """The zoo's own registry.yaml: inside an installed package, at the root of a source tree."""
    package = Path(__file__).parents[1]
    installed = package / CATALOG_FILE
    return installed if installed.is_file() else package.parent / CATALOG_FILE


@functools.cache
def default_catalog() -> Catalog:
    """The zoo's own catalog and those of installed plugins (entry-point group `zoo.catalogs`), read once a process.

    A plugin's catalog that cannot be read is left out; `zoo plugins` shows it with the reason. So it does with one that
    lists other bytes under a name of another catalog; whatever else that lists is there.
    """
    files = [(read_file(catalog_path()), "has8-zoo")]
    plugins, seen = [], set()
    for component in default_registry().components("catalog"):
        if component.state in (State.AVAILABLE, State.LOADED):
            try:
                if (path := component.load()) in seen:  # under two names
                    continue
                files.append((read_file(path), component.origin))
                plugins.append(component)
                seen.add(path)
            except CatalogError as error:
                component.fail(str(error))
            except ComponentError:  # its state and error say why
                continue
    catalog = Catalog(files)
    for component in plugins:
        if clashes := catalog.clashes_of(component.origin):
            component.fail("\n".join(clashes), State.CONFLICT)
    return catalog
