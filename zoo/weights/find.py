"""From what a user names to a record and the place of its bytes: a catalog's weight, a repository, a folder."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import final

from zoo.catalog.catalog import Catalog, default_catalog
from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import HubRepository, LocalFolder, Source, parse_reference
from zoo.composition import parse_name
from zoo.contracts.family import PublishedWeights
from zoo.errors import (
    MissingPluginError,
    ModelNameError,
    TagError,
    UnfinishedRunWarning,
    UnknownComponentError,
    UnpinnedWarning,
    WeightError,
    install_plugin,
    shorten,
)
from zoo.known_plugins import is_installed
from zoo.names import Spec, split_tag
from zoo.registry.registry import Registry, default_registry
from zoo.weights.config_json import CONFIG, MAX_CONFIG_BYTES, RUN, read_config, says_record
from zoo.weights.hub_client import HubAccess
from zoo.weights.misspelt import meant_reference
from zoo.weights.run_checkpoint import CHECKPOINT, read_unfinished


@final
@dataclass(frozen=True)
class Found:
    """What a name stands for.

    Attributes:
        spec: of the network.
        weight: the published weight; None where the name has none.
        source: where its bytes lie.
        referenced: whether a repository or folder was named, not a model.
        published: weights that the network's own publisher has, where no record lists one.
    """

    spec: Spec
    weight: StoredWeight | None = None
    source: Source | None = None
    referenced: bool = False
    published: PublishedWeights | None = None

    @property
    def loads(self) -> str:
        """What `create_model` takes to build just this: a repository at its commit, a folder, or the name."""
        return str(self.source) if self.referenced else str(self.spec)


def find_weight(
    name: str,
    access: HubAccess,
    registry: Registry | None = None,
    *,
    catalog: Catalog | None = None,
    required: bool = False,
    publishers: bool = False,
) -> Found:
    """What `name` stands for: a model, `hf-hub:org/name@revision` or `local-dir:path`.

    Args:
        name: as for `create_model`.
        access: how to reach the Hub.
        registry: components; the installed ones by default.
        catalog: weights by name; the installed ones by default.
        required: whether a name must have a weight, though no tag asks for it.
        publishers: whether weights that no catalog lists, but the network's own publisher has, will do.

    Raises:
        ModelNameError, TagError, SourceError: (ValueError) the name, tag or reference is wrong.
        MissingPluginError: what is stored needs a distribution that is not installed.
        HubError, WeightError: the repository or folder cannot be read.
    """
    reference = parse_reference(name) if isinstance(name, str) else None
    if reference is not None:
        if isinstance(reference, LocalFolder) and _is_unfinished(reference.path):
            return _open_unfinished(reference.path, registry)
        weight, source = _open(reference, access)
        return Found(_stored_spec(weight, str(source), registry), weight, source, referenced=True)
    spec = parse_typed(name, registry, catalog)
    if not (required or spec.tag):
        return Found(spec)
    records = catalog or default_catalog()
    if not any(spec.tag in (None, record.tag) for record in records.weights_of(spec)):
        family = (registry or default_registry()).load("family", spec.family)()
        published = family.published(dict(spec.fields), spec.tag)
        if published is not None:
            found = Found(spec.tagged(published.tag), published=published)
            if not publishers:
                raise TagError(
                    f"{found.spec} is a weight that its own publisher keeps, in no catalog; `zoo predict`, `eval`, "
                    "`train`, `profile`, `compare` and create_model take it, what needs a record does not"
                )
            return found
    record = records.weight(spec)
    return Found(record.spec_of(spec), record, record.location)


def parse_typed(name: str, registry: Registry | None = None, catalog: Catalog | None = None) -> Spec:
    """The spec of what a user wrote; an error says which plugin to install, or which reference was meant.

    Raises:
        ModelNameError, MissingPluginError: as `find_weight` does.
    """
    try:
        return parse_name(name, registry)
    except ModelNameError as error:
        if isinstance(error, UnknownComponentError):
            _say_what_to_install(name, catalog or default_catalog(), error)
        meant = meant_reference(name) if isinstance(name, str) else None
        if meant is None:
            raise
        raise type(error)(f"{error}; {meant}") from error


def find_listed(
    name: str, access: HubAccess, registry: Registry | None = None, *, catalog: Catalog | None = None
) -> Found:
    """What a name stands for, with the weight that its tag asks for, or else the first listed, if any is.

    A tag may ask for a weight that the network's own publisher has.
    """
    resolved = find_weight(name, access, registry, catalog=catalog, publishers=True)
    bare = resolved.weight is None and resolved.published is None
    if bare and (catalog or default_catalog()).weights_of(resolved.spec):
        return find_weight(name, access, registry, catalog=catalog, required=True)
    return resolved


def _say_what_to_install(name: str, catalog: Catalog, error: UnknownComponentError) -> None:
    """Raise `MissingPluginError` where the catalog knows which distribution a listed weight needs."""
    variant, tag = split_tag(name)
    for record in catalog.weights.get(variant, []):
        if tag in (None, record.tag):
            _check_providers(record, record.name, error)


def _open(reference: HubRepository | LocalFolder, access: HubAccess) -> tuple[StoredWeight, Source]:
    if isinstance(reference, LocalFolder):
        return read_config(_read_small(reference.path / CONFIG), str(reference)), reference
    pinned = access.pin(reference)
    if reference.revision is None:
        warnings.warn(
            f"{reference} is now at {pinned.revision}; write {pinned} to get these weights for ever",
            UnpinnedWarning,
            stacklevel=_level_of_caller(),
        )
    return read_config(access.fetch(pinned, CONFIG, MAX_CONFIG_BYTES), str(pinned)), pinned


def _is_unfinished(folder: Path) -> bool:
    """Whether it holds a run of `zoo train` without its final weight."""
    return (folder / RUN).is_file() and not (folder / CONFIG).exists()


def _open_unfinished(folder: Path, registry: Registry | None) -> Found:
    """The weights of a run's last checkpoint; a warning says that they are that.

    Raises:
        WeightError: nothing was saved yet, or not as `zoo train` saves it.
    """
    content = _read_small(folder / RUN)
    if not (folder / CHECKPOINT).is_file() or not says_record(content):
        why = "saved nothing yet" if not (folder / CHECKPOINT).is_file() else "was begun by an earlier version"
        raise WeightError(
            f"{folder} holds a run that has not finished and {why}; go on with it by the same command and --resume, "
            f"zoo train … --out {folder} --resume"
        )
    draft = read_config(content, str(folder), RUN)
    spec = _stored_spec(draft, str(folder), registry)
    weight, source = read_unfinished(folder, draft, spec, registry)
    warnings.warn(source.note, UnfinishedRunWarning, stacklevel=_level_of_caller())
    return Found(spec.tagged(weight.tag), weight, source, referenced=True)


def _level_of_caller() -> int:
    """The stack level, as the function that warns sees it, of whoever called the zoo, through all of its functions."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "zoo":
        level, frame = level + 1, frame.f_back
    return level


def _read_small(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise WeightError(
            f"{file} cannot be read ({error.strerror}); local-dir: names a folder that `zoo publish --to-dir` or "
            "`zoo train` wrote"
        ) from error


def _stored_spec(weight: StoredWeight, place: str, registry: Registry | None) -> Spec:
    """The spec of a stored weight; what the config says of it must be what its name says."""
    try:
        spec = parse_name(weight.variant, registry)
    except UnknownComponentError as error:
        _check_providers(weight, place, error)
        if isinstance(error, MissingPluginError):
            raise MissingPluginError(f"{place}: {error}") from error
        advice = "if it was registered in the process that made this weight (zoo.register), register it here first"
        raise UnknownComponentError(f"{place}: {error}; {advice}") from error
    stored = weight.spec_of(spec)
    if weight.spec != stored.untagged().to_json():
        raise WeightError(
            f"{place}: the stored spec {shorten(str(weight.spec), 200)} is not what the name {weight.variant} says"
        )
    return stored


def _check_providers(weight: StoredWeight, place: str, error: UnknownComponentError) -> None:
    missing = {name: version for name, version in weight.providers.items() if not is_installed(name)}
    if missing:
        packages = ", ".join(f"{name} (it was made with {version})" for name, version in missing.items())
        commands = ", ".join(install_plugin(name) for name in missing)
        raise MissingPluginError(f"{place} needs {packages}; install with: {commands} ({error})") from error
