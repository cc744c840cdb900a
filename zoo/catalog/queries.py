"""Queries over the catalog: which models there are, filtered and sorted by their figures. Loads no torch."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from zoo.catalog.figures import Figures
from zoo.catalog.files import Catalog, default_catalog
from zoo.catalog.records import Counts
from zoo.errors import ComponentError, OptionError, ZooError, suggest
from zoo.names import plain_name
from zoo.registry.components import Component, Registry, default_registry, parse_name

ORDERS = ("name", "params", "macs_per_timestep", "macs", "timesteps", "energy", "top1")


@functools.cache
def variant_figures() -> dict[str, Counts]:
    """Read figures of variants, 10 classes at 32 pixels a side, as `python -m tools.variant_figures` counts them."""
    figures = {}
    with (Path(__file__).parent / "variants.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row.pop("name")
            figures[name] = Counts(image_size=32, **{key: int(value) for key, value in row.items()})
    return figures


def figures_of(name: str, catalog: Catalog) -> Figures:
    """Return the figures of a weight or a variant.

    Of a variant, counts are for 10 classes at 32 pixels a side, all else is of its most accurate weight.
    """
    variant, _, tag = plain_name(name).partition(".")
    records = [record for record in catalog.weights.get(variant, []) if tag in ("", record.tag)]
    best = max(records, key=lambda record: record.metrics.get("top1", -1.0), default=None)
    figures = Figures() if best is None else Figures.of(best)
    if best is not None and tag:
        return figures
    return figures.updated(variant_figures().get(variant))


def list_models(
    filter: str = "*",
    *,
    family: str | None = None,
    backbone: str | None = None,
    encoder: str | None = None,
    decoder: str | None = None,
    neuron: str | None = None,
    pretrained: bool = False,
    max_params: float | None = None,
    max_macs: float | None = None,
    max_energy: float | None = None,
    min_top1: float | None = None,
    sort: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> list[str]:
    """List the catalog's variants in its order; with `pretrained`, `variant.tag` of every checkpoint.

    Example:
        >>> import zoo
        >>> zoo.list_models("*_resnet_b8_*", pretrained=True, sort="top1")[0]
        'has8_resnet_b8_m2_d4_ste_bpd.cifar10'

    Args:
        filter: shell pattern (`has8_*`) of the variant's name; with `pretrained` of the tagged one too.
        family: a family's name; likewise backbone, encoder, decoder, neuron.
        pretrained: only weights.
        max_params: most parameters; with `pretrained` those of the checkpoint, else with 10 classes.
        max_macs: most multiply-accumulates, all timesteps; with `pretrained` the checkpoint's, else at 32 pixels.
        max_energy: most microjoules an image at 45 nm, measured; of a variant those of its best weight.
        min_top1: least top-1 accuracy in percent; of a variant that of its best weight.
        sort: by `params`, `macs`, `macs_per_timestep`, `timesteps` or `energy`, the lowest first; by `top1`, the
            highest first; or by `name`. A model without the figure comes last.
        registry: components that names are made of; the installed ones by default.
        catalog: listed checkpoints; those of all installed packages by default.

    Raises:
        UnknownComponentError: no installed package offers that component.
        OptionError: no such filter or order.
    """
    if not isinstance(filter, str):
        raise OptionError(f"filter must be a shell pattern such as 'has8_*', not {filter!r}")
    if sort is not None and sort not in ORDERS:
        raise OptionError(f"sort={sort!r} is not an order{suggest(str(sort), ORDERS)}")
    registry, catalog = registry or default_registry(), catalog or default_catalog()
    parts = {"family": family, "backbone": backbone, "encoder": encoder, "decoder": decoder, "neuron": neuron}
    chosen = {kind: name for kind, name in parts.items() if name is not None}
    variants = _variants_with(chosen, registry, catalog)
    names = [variant for variant in variants if fnmatchcase(variant, filter)]
    if pretrained:
        names = _weights_like(filter, variants, catalog)
    figures = {name: figures_of(name, catalog) for name in names}
    most = {"params": max_params, "macs": max_macs, "energy_uj": max_energy}
    names = [name for name in names if _within(figures[name], most, min_top1)]
    return names if sort is None else _sorted(names, figures, sort)


def _variants_with(chosen: Mapping[str, str], registry: Registry, catalog: Catalog) -> list[str]:
    """List the variants with these components, by their kind; raises `UnknownComponentError`."""
    for kind, name in chosen.items():
        registry.warn_of_rivals(kind, name)
        registry.find(kind, name)  # raises the error that names the valid ones
    if not chosen:
        return catalog.names
    return [variant for variant in catalog.names if _matches(variant, chosen, registry)]


def _weights_like(pattern: str, variants: list[str], catalog: Catalog) -> list[str]:
    """List the weights of these variants that match with or without their tag."""
    weights = [(variant, name) for variant in variants for name in catalog.names_of_weights(variant)]
    return [name for variant, name in weights if fnmatchcase(name, pattern) or fnmatchcase(variant, pattern)]


def _within(figures: Figures, most: Mapping[str, float | None], min_top1: float | None) -> bool:
    """Return whether figures keep these bounds; an unknown figure keeps none."""
    for key, bound in most.items():
        value = getattr(figures, key)
        if bound is not None and (value is None or value > bound):
            return False
    return min_top1 is None or (figures.top1 is not None and figures.top1 >= min_top1)


def _sorted(names: list[str], figures: Mapping[str, Figures], order: str) -> list[str]:
    """Sort names by a figure; those without it come last."""
    if order == "name":
        return sorted(names)
    figure = "energy_uj" if order == "energy" else order
    values = {name: getattr(figures[name], figure) for name in names}
    known = [name for name in names if values[name] is not None]
    known.sort(key=lambda name: values[name], reverse=order == "top1")
    return known + [name for name in names if values[name] is None]


def _matches(name: str, chosen: Mapping[str, str], registry: Registry) -> bool:
    """Return True if a name has the chosen components; a missing or broken plugin hides its own models alone."""
    try:
        spec = parse_name(name, registry)
    except ZooError:
        return False
    fields = {"family": spec.family} | dict(spec.fields)
    return all(fields.get(kind) == wanted.rpartition(":")[2] for kind, wanted in chosen.items())


def unlisted_families() -> list[Component]:
    """List the families of which no catalog lists a model."""
    listed = {name.partition("_")[0] for name in default_catalog().names}
    families = default_registry().components("family")
    return [family for family in families if family.error is None and family.name not in listed]


def names_of_families(pattern: str) -> list[str]:
    """List names that match a pattern, of families that no catalog lists; only one named in the pattern is imported."""
    names: list[str] = []
    for component in unlisted_families():
        if pattern.startswith(f"{component.name}_"):
            with suppress(ComponentError):  # `zoo plugins` shows the reason
                names += [f"{component.name}_{remainder}" for remainder in component.load()().names()]
    return [name for name in names if fnmatchcase(name, pattern)]
