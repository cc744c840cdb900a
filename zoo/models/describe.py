"""model_info: all that is known of a name, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.catalog.controls import twin_levels, twin_name
from zoo.catalog.files import Catalog, default_catalog
from zoo.models.factory import Places, describe_model, open_model
from zoo.models.steps import count_steps
from zoo.names import Spec
from zoo.registry.components import Registry, default_registry, providers_of


def model_info(
    name: str,
    *,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
) -> dict[str, Any]:
    """Describe a model name, as JSON: its parts, who provides them, size, and its weights.

    Any valid name has an answer, listed or not, and so has `hf-hub:org/name@revision` or `local-dir:path`. The network
    is described without allocating it. `loads` is what `create_model` takes for it: the name, or the reference, at its
    commit.

    Example:
        >>> import zoo
        >>> info = zoo.model_info("has8_resnet_b8_m2_d4_ste_bpd")
        >>> info["fields"]["encoder"], info["timesteps"], info["params"]
        ('ste', 8, 379882)

    Args:
        name: this and what follows as for `create_model`.

    Raises:
        ModelNameError: as `create_model`; or an unknown tag.
        HubError, WeightError: a repository or folder cannot be read.
    """
    catalog = catalog or default_catalog()
    opened = open_model(name, Places(endpoint, cache_dir, token, registry=registry, catalog=catalog))
    spec = opened.spec
    if opened.weight is not None:
        weights = [(opened.weight, str(opened.source))]
    else:
        weights = [(record, str(record.location)) for record in catalog.weights_of(spec)]
    shaped = weights[0][0] if weights and not opened.weight_name else opened.origin
    model = describe_model(spec, shaped.num_classes, shaped.in_chans, registry)
    twin = twin_name(spec, registry)
    return {
        "name": str(spec),
        "loads": opened.loads,
        "family": spec.family,
        "fields": dict(spec.fields),
        "options": spec.options,
        "takes": _options_taken(spec, registry or default_registry()),
        "listed": spec.text in catalog.notes,
        "note": catalog.notes.get(spec.text, ""),
        "params": sum(p.numel() for p in model.parameters()),
        "num_classes": model.num_classes,
        "timesteps": model.timesteps,
        "steps": count_steps(model),
        "twin": twin and {"name": twin, "options": {"levels": twin_levels(spec, model.timesteps, registry)}},
        "num_features": model.num_features,
        "min_image_size": model.min_image_size,
        "components": [
            {"kind": c.kind, "name": c.name, "distribution": c.distribution, "version": c.version}
            for c in providers_of(spec, registry)
        ],
        "weights": [
            weight.model_dump(mode="json")
            | {"name": weight.name, "location": place, "robustness_in_words": weight.robustness_in_words}
            for weight, place in weights
        ],
    }


def _options_taken(spec: Spec, registry: Registry) -> dict[str, list[str]]:
    """Names of the options that the family and its components take."""
    kinds = [kind for kind in ("encoder", "decoder", "neuron") if spec.get(kind) is not None]
    options_by_kind = {kind: registry.load(kind, str(spec[kind])).options for kind in kinds}
    options_by_kind["family"] = registry.load("family", spec.family)().options
    return {kind: sorted(options) for kind, options in options_by_kind.items() if options}
