"""Questions asked of the catalog: which models there are, of what parts, size and accuracy. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, final

from zoo.catalog.catalog import Catalog, default_catalog
from zoo.catalog.figures import variant_figures
from zoo.catalog.schema import Figures, WeightRecord
from zoo.errors import ComponentError, ModelNameError, OptionError, suggest
from zoo.names import Value
from zoo.registry import Registry, default_registry, parse_name

HIGHEST_FIRST = frozenset({"top1"})
SORTED_BY = ("name", "params", "macs_per_timestep", "macs", "timesteps", "top1")


@final
@dataclass(frozen=True)
class ListedModel:
    """A row of `zoo list`: a variant, or one of its weights.

    Attributes:
        name: `variant`, or `variant.tag`.
        params: parameters; None where nobody has counted them.
        macs_per_timestep: analog + spiking / T, the paper's convention.
        macs: multiply-accumulates of all T timesteps.
        timesteps: T.
        top1: percent; of a variant its best weight's; None for none.
    """

    name: str
    params: int | None = None
    macs_per_timestep: int | None = None
    macs: int | None = None
    timesteps: int | None = None
    top1: float | None = None

    @classmethod
    def of_weight(cls, record: WeightRecord) -> ListedModel:
        """The figures of a weight, as it was trained."""
        return cls(record.name, *_counted(record.figures), record.metrics.get("top1"))

    @classmethod
    def of_variant(cls, name: str, catalog: Catalog) -> ListedModel:
        """The figures of a variant of 10 classes at 32 pixels a side, and the accuracy of its best weight."""
        measured = [record.metrics["top1"] for record in catalog.weights.get(name, []) if "top1" in record.metrics]
        return cls(name, *_counted(variant_figures().get(name)), max(measured, default=None))


def _counted(figures: Figures | None) -> tuple[int | None, int | None, int | None, int | None]:
    """Parameters, MACs of a timestep and of all, T; None each where nobody has counted."""
    if figures is None:
        return None, None, None, None
    return figures.params, figures.macs_per_timestep, figures.macs, figures.timesteps


def list_models(
    filter: str = "*",
    *,
    family: str | None = None,
    backbone: str | None = None,
    encoder: str | None = None,
    decoder: str | None = None,
    neuron: str | None = None,
    pretrained: bool = False,
    max_params: int | None = None,
    max_macs: int | None = None,
    min_top1: float | None = None,
    sort: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> list[str]:
    """Names of the catalog's variants, in its order; with `pretrained`, `variant.tag` of every weight.

    Example:
        >>> import zoo
        >>> zoo.list_models("*_resnet_b8_*", pretrained=True, sort="top1")
        ['has8_resnet_b8_m2_d4_ste_bpd.cifar10', 'ann_resnet_b8_m2_d4.cifar10']

    Args:
        filter: shell pattern (`has8_*`) of the variant's name; with `pretrained` of the tagged one too.
        family: of that family; likewise backbone, encoder, decoder and neuron.
        pretrained: those with weights alone.
        max_params: at most so many parameters; with `pretrained` those of the weight, else with 10 classes.
        max_macs: at most so many multiply-accumulates, all timesteps; with `pretrained` those of the weight, else at
            32 pixels a side.
        min_top1: a top-1 accuracy of at least so many percent; of a variant that of its best weight.
        sort: by `params`, `macs`, `macs_per_timestep` or `timesteps`, the lowest first; by `top1`, the highest first;
            or by `name`. What has no such figure comes last.
        registry: components that names are made of; the installed ones by default.
        catalog: which one; the installed ones by default.

    Raises:
        UnknownComponentError: for a component that nobody offers.
        OptionError: for a filter or an order that there is not.
    """
    parts = {"family": family, "backbone": backbone, "encoder": encoder, "decoder": decoder, "neuron": neuron}
    bounds = {"max_params": max_params, "max_macs": max_macs, "min_top1": min_top1}
    rows = list_rows(filter, parts, pretrained, bounds, sort, registry=registry, catalog=catalog)
    return [row.name for row in rows]


def list_rows(
    filter: str,
    parts: Mapping[str, str | None],
    pretrained: bool,
    bounds: Mapping[str, float | None],
    sort: str | None,
    *,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> list[ListedModel]:
    """What `list_models` names, with its figures; arguments and errors are the same.

    Args:
        filter: shell pattern.
        parts: kind → name of a component; None for any.
        pretrained: weights, not variants.
        bounds: `max_params`, `max_macs`, `min_top1`; None for none.
        sort: by which figure.
        registry, catalog: the installed ones by default.
    """
    if not isinstance(filter, str):
        raise OptionError(f"filter must be a shell pattern such as 'has8_*', not {filter!r}")
    if sort is not None and sort not in SORTED_BY:
        raise OptionError(f"sort={sort!r} is not an order{suggest(str(sort), SORTED_BY)}")
    registry, catalog = registry or default_registry(), catalog or default_catalog()
    chosen = {kind: name for kind, name in parts.items() if name is not None}
    for kind, name in chosen.items():
        if name not in registry.names(kind):
            registry.find(kind, name)  # says what there is
    variants = [name for name in catalog.names if not chosen or _matches(name, chosen, registry)]
    rows = [row for variant in variants for row in _rows_of(variant, filter, pretrained, catalog)]
    rows = [row for row in rows if _is_within(row, bounds)]
    return rows if sort is None else sorted(rows, key=lambda row: _place(row, sort))


def _rows_of(variant: str, filter: str, pretrained: bool, catalog: Catalog) -> list[ListedModel]:
    if not pretrained:
        return [ListedModel.of_variant(variant, catalog)] if fnmatchcase(variant, filter) else []
    return [
        ListedModel.of_weight(record)
        for record in catalog.weights.get(variant, [])
        if any(fnmatchcase(name, filter) for name in (record.name, variant))
    ]


def _is_within(row: ListedModel, bounds: Mapping[str, float | None]) -> bool:
    """Whether a row keeps every bound; a figure that is not known keeps none."""
    for bound, limit in bounds.items():
        if limit is None:
            continue
        side, _, figure = bound.partition("_")
        value = getattr(row, figure)
        if value is None or (value > limit if side == "max" else value < limit):
            return False
    return True


def _place(row: ListedModel, sort: str) -> tuple[bool, Any]:
    value = getattr(row, sort)
    if value is None:
        return True, 0
    return False, -value if sort in HIGHEST_FIRST else value


def _matches(name: str, chosen: Mapping[str, str], registry: Registry) -> bool:
    try:
        spec = parse_name(name, registry)
    except (ModelNameError, ComponentError):  # a missing or broken plugin hides its own models, not the others
        return False
    fields: dict[str, Value] = {"family": spec.family, **dict(spec.fields)}
    return all(fields.get(kind) == wanted.rpartition(":")[2] for kind, wanted in chosen.items())
