"""Names of the zoo become models of timm: an entry point each, and what timm calls default_cfgs. Builds no network."""

from __future__ import annotations

from collections.abc import Sequence

import timm
from spikingjelly.activation_based.base import StepModule
from timm.models import PretrainedCfg, generate_default_cfgs, register_model, register_notrace_module

from zoo.backbones.layers import GuardedConv2d
from zoo.catalog import WeightRecord, default_catalog
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.errors import ComponentError, ModelNameError
from zoo.factory import DEFAULT_CHANNELS, DEFAULT_CLASSES
from zoo.families.paired import PixelsLast
from zoo.registry import DISABLE, default_registry, parse_name
from zoo.timm import has8_zoo
from zoo.timm.builder import make_entry
from zoo.timm.pretrained import places
from zoo.weights import describe_untrained, describe_weight

_NOT_TRACED = (Encoder, Decoder, Neuron, GuardedConv2d, StepModule, PixelsLast)
"""Their forward asks for shapes and modes, and loops over time: torch.fx takes each as one operation."""


def register_models(*names: str) -> list[str]:
    """Make composed names models of timm's, as those of the catalog are; again is harmless.

    Args:
        names: `family_…`; a tag is left out, for timm takes those that the catalog lists.

    Returns:
        The canonical names, which timm knows now.

    Raises:
        ModelNameError: no name of a model, or one that timm cannot have: it takes a colon for a place.
        ComponentError: timm has another model of that name; nothing is registered then.
    """
    variants = [parse_name(name).text for name in names]
    for variant in variants:
        if ":" in variant:
            raise ModelNameError(f"timm has no names with a colon, such as {variant!r}; leave the distribution out")
    _register(variants)
    return variants


def register_catalog() -> None:
    """Make every name of the catalog a model of timm's; raises `ComponentError`."""
    for module in _NOT_TRACED:
        register_notrace_module(module)
    _register([name for name in default_catalog().names if ":" not in name])  # timm takes a colon for a place


def _register(variants: Sequence[str]) -> None:
    new = [variant for variant in dict.fromkeys(variants) if not _is_ours(variant)]
    for variant in new:
        _check_free(variant)
    cfgs: dict[str, PretrainedCfg] = {}
    for variant in new:
        records = default_catalog().weights.get(variant, [])
        cfgs |= {record.name: _weight_cfg(record) for record in records} or {variant: _untrained_cfg()}
    has8_zoo.default_cfgs |= generate_default_cfgs(cfgs)
    for variant in new:
        entry = make_entry(variant, has8_zoo.__name__)
        setattr(has8_zoo, variant, entry)
        register_model(entry)


def _is_ours(variant: str) -> bool:
    return timm.is_model(variant) and timm.model_entrypoint(variant).__module__ == has8_zoo.__name__


def _check_free(variant: str) -> None:
    if timm.is_model(variant):
        theirs = timm.model_entrypoint(variant).__module__
        ours = default_registry().find("family", variant.partition("_")[0]).origin
        raise ComponentError(
            f"timm has a model {variant!r} already, of {theirs}, which that of {ours} does not replace; rename one, or "
            f"switch the zoo's off with {DISABLE}"
        )


def _untrained_cfg() -> PretrainedCfg:
    return PretrainedCfg(**describe_untrained(DEFAULT_CLASSES, DEFAULT_CHANNELS))


def _weight_cfg(record: WeightRecord) -> PretrainedCfg:
    cfg = describe_untrained(record.num_classes, record.in_chans) | describe_weight(record) | places(record)
    return PretrainedCfg(**cfg | {"label_names": record.labels})
