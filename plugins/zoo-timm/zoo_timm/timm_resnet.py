"""Convert timm's ResNets: `zoo convert timm resnet18.a1_in1k --out DIR`, or a file of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

from zoo_convert import RESNET_FORMS

from zoo.contracts import CheckpointFacts, Converted, HubFile
from zoo.errors import InputError, WeightError, suggest
from zoo_timm.family import FILE, import_timm, stated_by_timm
from zoo_timm.residual import ResNetConverter, published_name, refuse_look_alike

_ENDINGS = (".pt", ".pth", ".bin", ".tar", ".safetensors")


@final
class TimmConverter(ResNetConverter):
    """resnet18, 34, 50, 101 and 152 of timm; by its file, or by timm's name of its weights."""

    publisher = "timm"

    def locate(self, name: str) -> HubFile | None:
        """Locate `resnet18.a1_in1k` or `resnet18.a1_in1k@COMMIT`; None for a path; raises as `_cfg` does."""
        if "/" in name or "\\" in name or name.endswith(_ENDINGS):
            return None
        plain, _, revision = name.partition("@")
        return HubFile(_cfg(plain).hf_hub_id, FILE, revision or None)

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """Return what timm's pretrained_cfg states; licence and labels only if the weights are named.

        Raises `WeightError` for weights of another network than the tensors, `InputError` for those that timm lacks.
        """
        network = published_name(converted)
        given = name.partition("@")[0] or self.weights
        cfg = _cfg(given or network)
        weights = f"{cfg.architecture}.{cfg.tag}"
        if cfg.architecture != network:
            raise WeightError(f"{weights} is a {cfg.architecture}, but these are the tensors of a {network}")
        stated = stated_by_timm(cfg)
        if not given:
            stated = replace(stated, license="", note=self.assumed(weights))
        if not given or cfg.num_classes != converted.num_classes:
            stated = replace(stated, labels=(), dataset="")
        return stated


def _cfg(name: str) -> Any:
    """Return the pretrained_cfg of a name with or without a tag; raises `InputError` and `WeightError`."""
    timm = import_timm("the converter timm")
    refuse_look_alike(name)
    network, _, tag = name.partition(".")
    if network not in RESNET_FORMS:
        raise InputError(
            f"{name!r} is no file, nor a ResNet of timm's that the zoo converts{suggest(network, RESNET_FORMS)}"
        )
    known = timm.models.get_arch_pretrained_cfgs(network)
    if tag and name not in known:
        raise InputError(f"timm has no weights {name!r}{suggest(name, known)}")
    return timm.get_pretrained_cfg(name)
