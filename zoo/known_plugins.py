"""Plugins that this zoo knows of, so that an error can say which one to install. Data: nothing of theirs is imported.

A test compares the table with the entry points and catalogs of the plugins in this repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

from zoo.errors import MissingPluginError, UnknownComponentError, install_plugin, shorten


@final
@dataclass(frozen=True)
class KnownPlugin:
    """What a distribution brings.

    Attributes:
        components: the names of its components by kind, converters too.
        weights: the weights that its catalog lists, as `variant.tag`.
    """

    components: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: tuple[str, ...] = ()


KNOWN_PLUGINS: Mapping[str, KnownPlugin] = MappingProxyType(
    {
        "zoo-gray": KnownPlugin({"encoder": ("gray",), "decoder": ("gray",)}),
        "zoo-has8-reference": KnownPlugin(
            {
                "backbone": ("resnetref", "vggref"),
                "encoder": ("fourierref", "sigmoidref", "tanhref"),
                "decoder": ("bpdref",),
                "neuron": ("lifref",),
                "converter": ("has8",),
            }
        ),
        "zoo-spikingjelly": KnownPlugin({"family": ("sj",), "converter": ("qkformer", "sew", "spikformer")}),
        "zoo-weights-cifar10": KnownPlugin(
            weights=(
                "has8_resnet_b32_m2_d4_ste_bpd.cifar10",
                "ann_resnet_b32_m2_d4.cifar10",
                "has8_resnet_b32_m2_d4_fourier_bpd.cifar10",
                "ann_resnet_b32_m2_d4.cifar10long",
            )
        ),
        "zoo-weights-cifar10-baselines": KnownPlugin(weights=("ann_resnet18.cifar10", "sew_resnet18_phase.cifar10")),
        "zoo-weights-cifar10-sew": KnownPlugin(weights=("sew_resnet18_rate.cifar10", "sew_resnet18_ttfs.cifar10")),
        "zoo-weights-cifar10-small": KnownPlugin(
            weights=(
                "has8_resnetsmall_b16_m2_d4_ste_bpd.cifar10",
                "ann_resnetsmall_b16_m2_d4.cifar10",
                "ann_resnetsmall_b32_m2_d4.cifar10",
                "has8_resnet_b8_m2_d4_ste_bpd.cifar10sparse",
                "has8_resnetfull_b32_m2_d4_ste_bpd_plif.cifar10",
                "ann_resnetfull_b32_m2_d4.cifar10",
                "ann_resnetfull_b32_m2_d4.cifar10start",
            )
        ),
        "zoo-weights-cifar10-vgg": KnownPlugin(
            weights=("has8_vgg_b16_m2_d4_ste_bpd.cifar10", "ann_vgg_b16_m2_d4.cifar10")
        ),
        "zoo-weights-cifar10-vgg-fourier": KnownPlugin(
            weights=("has8_vgg_b16_m2_d4_fourier_bpd.cifar10", "ann_vgg_b16_m2_d4.cifar10start")
        ),
    }
)
"""By distribution."""


def unknown_component(kind: str, name: str, valid: str) -> UnknownComponentError:
    """The error for a name that nobody offers: `MissingPluginError` where a known plugin that is not installed does.

    Args:
        kind: such as `encoder`.
        name: as it was written, `distribution:name` too.
        valid: what the message ends with where no plugin is known, as `suggest` says it.
    """
    distribution, colon, plain = name.rpartition(":")
    for known, plugin in KNOWN_PLUGINS.items():
        offers = plain in plugin.components.get(kind, ()) and (not colon or distribution == known)
        if offers and not is_installed(known):
            return MissingPluginError(f"unknown {kind} {shorten(name)}: it is in {_missing(known)}")
    return UnknownComponentError(f"unknown {kind} {shorten(name)}{valid}")


def missing_weight(variant: str, tag: str | None) -> str | None:
    """`NAME is in zoo-…, which is not installed; install it with: …`, where a known plugin has that weight.

    Args:
        variant: a model's name without distributions and without a tag.
        tag: which weight; None for any.
    """
    for known, plugin in KNOWN_PLUGINS.items():
        for weight in plugin.weights:
            listed, _, listed_tag = weight.partition(".")
            if listed == variant and tag in (None, listed_tag) and not is_installed(known):
                return f"{weight} is in {_missing(known)}"
    return None


def _missing(distribution: str) -> str:
    return f"{distribution}, which is not installed; install it with: {install_plugin(distribution)}"


def is_installed(distribution: str) -> bool:
    """Whether a distribution of that name is installed, whatever its state."""
    import importlib.metadata

    try:
        importlib.metadata.version(distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    return True
