"""The control of a network: the same blocks without spikes; and of its weight, the one to compare it with."""

from __future__ import annotations

from operator import attrgetter

from zoo.catalog.files import Catalog, default_catalog, stored_spec
from zoo.catalog.records import StoredWeight, WeightRecord
from zoo.contracts.family import Family
from zoo.names import Spec
from zoo.registry.components import Registry, default_registry

_prepared_alike = attrgetter("dataset", "dataset_note", "labels", "in_chans", "preprocessing", "figures.image_size")


def control_name(spec: Spec, registry: Registry | None = None) -> str | None:
    """Name the same network without spikes; None if it has none of its own."""
    return _family(spec, registry).control(dict(spec.fields))


def find_control(
    weight: StoredWeight, spec: Spec, catalog: Catalog | None = None, registry: Registry | None = None
) -> WeightRecord | None:
    """Return the control of a weight: the one that its record names, or the one of its tag.

    None unless the catalog lists it and its figures can stand beside these: of the same classes and channels, on the
    same images prepared alike.
    """
    name = control_name(spec, registry)
    if name is None:
        return None
    record = (catalog or default_catalog()).named(weight.control or f"{name}.{weight.tag}")
    can_compare = record and record.variant == name and _prepared_alike(record) == _prepared_alike(weight)
    return record if can_compare else None


def twin_name(spec: Spec, registry: Registry | None = None) -> str | None:
    """Name the twin, which gives the same answers without spikes with the option `levels`; None if it has none."""
    return _family(spec, registry).twin(spec)


def twin_levels(spec: Spec, timesteps: int, registry: Registry | None = None) -> int:
    """Return the option `levels` of the twin of a network of T timesteps."""
    return _family(spec, registry).twin_levels(spec, timesteps)


def _family(spec: Spec, registry: Registry | None) -> Family:
    family: Family = (registry or default_registry()).load("family", spec.family)()
    return family


def twin_in_words(weight: StoredWeight) -> str:
    """Name the twin of a weight's network with its option; '' for none."""
    spec = stored_spec(weight)
    name = twin_name(spec)
    return f"{name} (levels={twin_levels(spec, weight.figures.timesteps)})" if name else ""
