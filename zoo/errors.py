"""Every error the zoo raises on purpose. Each message names the input, the valid range and the next step."""

from __future__ import annotations

import difflib
import importlib
import math
import operator
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import final


class ZooError(Exception):
    """Base of all errors that the zoo raises on purpose."""


class ModelNameError(ZooError, ValueError):
    """A model name, its tag, or a reference such as `hf-hub:org/name@revision` is not valid."""


class UnknownComponentError(ModelNameError):
    """A well-formed name asks for a component that no installed distribution offers."""


class MissingPluginError(UnknownComponentError):
    """A model, or what is stored of one, needs a distribution that is not installed."""


class CompositionError(ZooError, ValueError):
    """Components that exist do not fit together (timesteps, plane order, channels, depth)."""


class OptionError(ZooError, TypeError):
    """`create_model` was given an option that the model does not have."""


class InputError(ZooError, ValueError):
    """A tensor, image or file given to a model cannot be used."""


class ComponentError(ZooError, ValueError):
    """A component cannot be used: broken, of another API version, switched off, or claimed by several distributions."""


class CatalogError(ZooError, ValueError):
    """registry.yaml does not follow its schema."""


class WeightError(ZooError):
    """A weight file is missing, altered, or does not fit its model."""


class HubError(ZooError):
    """The Hugging Face Hub cannot be reached, or refuses."""


class SaveError(ZooError, ValueError):
    """A network cannot be saved or published: it would not load again, something is there already, or nothing can be
    written."""


class MemoryLimitError(ZooError, MemoryError):
    """What was asked for needs more memory than there is; the message says how to ask for less."""


class TrainingError(ZooError):
    """A training run cannot go on."""


class DivergenceError(TrainingError):
    """The loss or the gradients of a training run are no longer numbers, or no longer sensible ones."""


class TrainingStoppedError(ZooError):
    """A training run was asked to stop; what it had learned is saved, and `resume` goes on from there.

    Attributes:
        signal: the number of the signal that asked; a process ends with 128 and it.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class MissingExtraError(ZooError, ModuleNotFoundError):
    """What was asked for needs an optional distribution; the message says what to `pip install`.

    Attributes:
        name: the module that is missing, as every `ModuleNotFoundError` says it.
    """


class ZooWarning(UserWarning):
    """Base of all warnings of the zoo: what was asked for is done, but may not be what was meant."""


class UnpinnedWarning(ZooWarning):
    """A repository was named without a commit: what it holds may change."""


class UnfinishedRunWarning(ZooWarning):
    """A folder holds a run of `zoo train` that has not finished; its last checkpoint is taken."""


class NewHeadWarning(ZooWarning):
    """A checkpoint is of another number of classes: the last layer is random, not loaded."""


def missing_extra(error: ImportError, what: str, extra: str) -> MissingExtraError:
    """The error that says which extra of has8-zoo brings what `what` could not import."""
    module = error.name or "a module"
    if not isinstance(error, ModuleNotFoundError):  # it is there, and is too old or damaged
        module = f"{module} ({error})"
    return MissingExtraError(f"{what} needs {module}; install it with: {install_extra(extra)}", name=error.name)


def install_extra(extra: str) -> str:
    """The command that installs an extra of this zoo: from the source tree that it runs from, else by its name."""
    tree, editable = _source_tree()
    if tree is None:
        return f"pip install 'has8-zoo[{extra}]'"
    option = "-e " if editable else ""
    return f"pip install {option}'.[{extra}]' in {shlex.quote(str(tree))}"


def install_plugin(distribution: str) -> str:
    """The command that installs a plugin: the one in this zoo's source tree where it is there, else by its name."""
    tree, _ = _source_tree()
    if tree is not None and (tree / "plugins" / distribution / "pyproject.toml").is_file():
        return f"pip install ./plugins/{distribution} in {shlex.quote(str(tree))}"
    return f"pip install {shlex.quote(distribution)}"


def _source_tree() -> tuple[Path | None, bool]:
    """The folder that this zoo runs from or was installed from, None for neither, and whether it runs from there."""
    tree = Path(__file__).resolve().parent.parent
    if _is_tree(tree):
        return tree, True
    from_url = _installed_from()
    return (from_url if from_url is not None and _is_tree(from_url) else None), False


def _is_tree(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("pyproject.toml", "registry.yaml", "zoo/errors.py"))


def _installed_from() -> Path | None:
    """The local folder that pip wrote down for has8-zoo, if it was one."""
    import importlib.metadata
    import json
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        stored = json.loads(importlib.metadata.distribution("has8-zoo").read_text("direct_url.json") or "{}")
        place = urlsplit(stored["url"] if "dir_info" in stored else "")
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError, TypeError, KeyError):
        return None  # from an index, or a damaged installation
    return Path(url2pathname(place.path)) if place.scheme == "file" else None


# Known plugins: an error can say which one to install, though nothing of theirs is there ------------------------------


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
        "zoo-energy": KnownPlugin(
            {
                "energy_model": (
                    "loihi-synapses",
                    "spikesim-dense",
                    "spikesim-event",
                    "spikingjelly-compute",
                    "spikingjelly-memory",
                )
            }
        ),
        "zoo-site": KnownPlugin({"command": ("site",)}),
        "zoo-has8-reference": KnownPlugin(
            {
                "backbone": ("resnetref", "vggref"),
                "encoder": ("fourierref", "sigmoidref", "tanhref"),
                "decoder": ("bpdref",),
                "neuron": ("lifref",),
                "converter": ("has8",),
            }
        ),
        "zoo-spikingjelly": KnownPlugin(
            {"family": ("sj",), "converter": ("msresnet", "qkformer", "sdt", "sew", "spikformer", "step")}
        ),
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
        "zoo-weights-cifar10-spiking": KnownPlugin(weights=("sew_resnetsmall_b32_m2_d4_direct.cifar10",)),
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


def import_plugin(distribution: str, module: str, feature: str) -> ModuleType:
    """Import a module of a known plugin that an option of the zoo needs.

    Raises:
        MissingPluginError: the plugin is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingPluginError(f"{feature} is in {_missing(distribution)}") from error


def _missing(distribution: str) -> str:
    return f"{distribution}, which is not installed; install it with: {install_plugin(distribution)}"


def is_installed(distribution: str) -> bool:
    """Whether a distribution of that name is installed."""
    import importlib.metadata

    try:
        importlib.metadata.version(distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    return True


# Checks of arguments --------------------------------------------------------------------------------------------------


def check_count(what: str, value: int, lowest: int, highest: int) -> int:
    """`value` as an integer in range; raises `OptionError` (not an integer) or `CompositionError` (out of range)."""
    count = check_integer(what, value, lowest, highest)
    if not lowest <= count <= highest:
        raise CompositionError(f"{what}={count} is out of range; valid: {lowest} to {highest}")
    return count


def check_number(what: str, value: float, *, above: float = -math.inf, below: float = math.inf) -> float:
    """`value` as a finite number inside bounds; raises `OptionError` (not a number) or `CompositionError` (outside)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{what} must be a number, not {value!r}")
    if not (math.isfinite(value) and above < value < below):
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
        raise CompositionError(f"{what}={value:g} is out of range; valid: finite numbers {' and '.join(bounds)}")
    return float(value)


def check_flag(what: str, value: bool) -> bool:
    """`value` where it is True or False; raises `OptionError`."""
    if not isinstance(value, bool):
        raise OptionError(f"{what} must be True or False, not {value!r}")
    return value


def check_integer(what: str, value: int, lowest: int, highest: int) -> int:
    """`value` as an integer, whatever its range, which the caller checks; raises `OptionError`."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise OptionError(f"{what} must be an integer from {lowest} to {highest}, not {value!r}")
    return count


def suggest(wanted: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """`; did you mean 'x'?` for a near miss, else the whole list of valid choices.

    Args:
        wanted: what was written.
        valid: what could have been.
        cutoff: how alike the two must be to be taken for each other, from 0 to 1.
    """
    choices = sorted(set(valid))
    close = difflib.get_close_matches(wanted[:100], choices, n=1, cutoff=cutoff)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "; valid: " + ", ".join(choices) if choices else ""


def shorten(text: str, limit: int = 60) -> str:
    """`repr(text)`, cut in the middle when longer than `limit` characters."""
    if len(text) <= limit:
        return repr(text)
    return f"{text[: limit // 2]!r}…({len(text)} characters)"


_HARMLESS = frozenset("\u00a0\u202f\u3000\u200c\u200d")
"""Spaces of French and Chinese, and the joiners that Persian and emoji are written with."""


def printable(text: str) -> str:
    """One line that shows as what it holds: ESC is `\\x1b`, a line end `\\n`, a bidi override `\\u202e`.

    Labels, licences and names of files come from strangers, and a terminal obeys what is in them. Lone surrogates, as
    Python keeps undecodable bytes of file names, are written out too, so that any stream takes the text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else c.encode("unicode_escape").decode() for c in text)
