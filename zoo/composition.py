"""From a name to a spec: parse the name with its family. Nothing here reads a file."""

from __future__ import annotations

from zoo.contracts.family import About
from zoo.errors import (
    BrokenComponentError,
    ModelNameError,
    ZooError,
    shorten,
    suggest,
)
from zoo.known_plugins import unknown_component
from zoo.names import Spec, check_characters, split_tag
from zoo.registry.registry import Registry, default_registry


def parse_name(name: str, registry: Registry | None = None) -> Spec:
    """The spec of a model name such as `has8_resnet_b32_m2_d4_fourier_bpd.cifar10`.

    Example:
        >>> import zoo
        >>> spec = zoo.parse_name("has8_resnet_b32_m2_d4_fourier_bpd.cifar10")
        >>> spec.tag, spec["base"], str(spec.untagged())
        ('cifar10', 32, 'has8_resnet_b32_m2_d4_fourier_bpd')

    Raises:
        ModelNameError: (a ValueError) naming the part that is wrong and the nearest valid ones.
    """
    registry = registry or default_registry()
    check_characters(name)
    variant, tag = split_tag(name)
    family_name, _, remainder = variant.partition("_")
    families = registry.plain_names("family")
    if family_name not in registry.names("family"):
        raise unknown_component("family", family_name, f"{suggest(family_name, families)} (in {shorten(name)})")
    component = registry.find("family", family_name)
    kind = component.load()
    try:
        family = kind()
        fields = family.parse(remainder, registry.names)
        return Spec(family_name, fields, f"{family_name}_{family.format(dict(fields))}", tag)
    except ModelNameError as error:
        raise type(error)(f"{error} (in {shorten(name, 120)})") from None
    except ZooError:
        raise
    except Exception as error:  # whatever else a plugin's family raises is its own defect
        said = f"{type(error).__name__}: {error}"
        raise BrokenComponentError(
            f"family {family_name!r} of {component.origin} cannot read {shorten(name, 120)}: {said}"
        ) from error


def about_model(spec: Spec, timesteps: int, registry: Registry | None = None) -> About:
    """What the family says of a network on its model card.

    Raises:
        BrokenComponentError: the family fails, or says something else than an `About`.
    """
    component = (registry or default_registry()).find("family", spec.family)
    kind = component.load()
    try:
        about = kind().about(dict(spec.fields), timesteps)
    except Exception as error:  # whatever a plugin's family raises is its own defect
        said = f"{type(error).__name__}: {error}"
        raise BrokenComponentError(
            f"family {spec.family!r} of {component.origin} cannot say what {spec} is: {said}"
        ) from error
    if not isinstance(about, About):
        said = f"gives {type(about).__name__}, where zoo.contracts.About is due"
        raise BrokenComponentError(f"`about` of family {spec.family!r} of {component.origin} {said}")
    return about
