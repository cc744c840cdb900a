"""Convert timm's ResNets: `zoo convert timm resnet18.a1_in1k --out DIR`, or a file of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from zoo.contracts.converter import Converted, Converter, HubFile, Stated
from zoo.converters.residual import FORMS, convert_residual, of_channels, published_name, refuse_look_alike
from zoo.errors import InputError, WeightError, suggest
from zoo.families.timm_family import FILE, import_timm, stated_by_timm

if TYPE_CHECKING:
    from torch import Tensor

_ENDINGS = (".pt", ".pth", ".bin", ".tar", ".safetensors")
ASSUMED = (
    "The file does not say how images were prepared: as timm's {weights} states it. "
    "Name other weights by --set weights=…"
)


@final
class TimmConverter(Converter):
    """resnet18, 34, 50, 101 and 152: the form by shapes, the preparation of images from timm.

    The option `weights` says which of timm's weights a file holds, such as `resnet18.a1_in1k`.
    """

    api_version = 1
    options = frozenset({"weights"})

    def __init__(self, weights: str = "") -> None:
        self.weights = weights

    def locate(self, name: str) -> HubFile | None:
        """Locate `resnet18.a1_in1k` or `resnet18.a1_in1k@COMMIT`; None for a path.

        Raises:
            InputError: timm has no such weights, or they are of another network than these ResNets.
            WeightError: they are of one that only looks like one of these.
        """
        if "/" in name or "\\" in name or name.endswith(_ENDINGS):
            return None
        plain, _, revision = name.partition("@")
        return HubFile(_cfg(plain).hf_hub_id, FILE, revision or None)

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return convert_residual(state, "timm")

    def check_name(self, called: str) -> None:
        refuse_look_alike(called)

    def describe(self, converted: Converted, name: str) -> Stated:
        """Return what timm's pretrained_cfg states; licence and labels only if the weights are named.

        Raises:
            InputError: timm has no such weights.
            WeightError: they are of another network than the tensors.
        """
        network = published_name(converted)
        given = name.partition("@")[0] or self.weights
        cfg = _cfg(given or network)
        weights = f"{cfg.architecture}.{cfg.tag}"
        if cfg.architecture != network:
            raise WeightError(f"{weights} is a {cfg.architecture}, but these are the tensors of a {network}")
        stated = stated_by_timm(cfg)
        if not given:
            stated = replace(stated, license="", note=ASSUMED.format(weights=weights))
        if not given or cfg.num_classes != converted.num_classes:
            stated = replace(stated, labels=(), dataset="")
        mean, std = (of_channels(values, converted.in_chans) for values in (stated.mean, stated.std))
        return replace(stated, mean=mean, std=std)


def _cfg(name: str) -> Any:
    """Return the pretrained_cfg of a name with or without a tag; raises `InputError` and `WeightError`."""
    timm = import_timm("the converter timm")
    refuse_look_alike(name)
    network, _, tag = name.partition(".")
    if network not in FORMS:
        raise InputError(
            f"{name!r} is neither a file nor a ResNet of timm that the zoo converts{suggest(network, FORMS)}"
        )
    known = timm.models.get_arch_pretrained_cfgs(network)
    if tag and name not in known:
        raise InputError(f"timm has no weights {name!r}{suggest(name, known)}")
    return timm.get_pretrained_cfg(name)
