"""A network of timm behind the contract of an image classifier; timm built it, and it is not taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, final

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from zoo.blocks import fuse_network
from zoo.contracts import MAX_CLASSES, FeatureInfo, ImageClassifier
from zoo.errors import CompositionError, InputError, check_count
from zoo.names import Spec


@final
class TimmClassifier(ImageClassifier):
    """A network of timm, named `net`; without spikes.

    Args:
        spec: the parsed name.
        net: with a feature map (N, C, H, W) before its head.
        min_image_size: fewest pixels a side.
        in_chans: image channels.
    """

    net: Any
    spiking_module_names = ()
    timesteps = 1

    def __init__(self, spec: Spec, net: Any, min_image_size: int, in_chans: int) -> None:
        super().__init__(spec, net.num_classes, in_chans, min_image_size)
        self.net = net
        self._read_sizes()
        self.feature_info = [
            FeatureInfo(num_chs=level["num_chs"], reduction=level["reduction"], module=f"net.{level['module']}")
            for level in net.feature_info
        ]

    def _read_sizes(self) -> None:
        self.num_classes = self.net.num_classes
        self.num_features, self.head_hidden_size = self.net.num_features, self.net.head_hidden_size

    def forward_features(self, x: Tensor) -> Tensor:
        self.check_image(x)
        return self.net.forward_features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.net.forward_head(x, pre_logits=pre_logits)

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        indices = list(range(last + 1))
        return self.net.forward_intermediates(x, indices=indices, stop_early=True, intermediates_only=True)

    def forward_levels(self, x: Tensor, levels: list[int], norm: bool, stop_early: bool) -> tuple[Tensor, list[Tensor]]:
        self.check_image(x)
        ordered = sorted(set(levels))
        final, maps = self.net.forward_intermediates(x, indices=ordered, norm=norm, stop_early=stop_early)
        return final, [maps[ordered.index(level)] for level in levels]  # some networks go on after the last level

    def get_classifier(self) -> nn.Module:
        classifier = self.net.get_classifier()
        return classifier if isinstance(classifier, nn.Module) else nn.ModuleList(classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        classes = check_count("num_classes", num_classes, 0, MAX_CLASSES)
        if global_pool not in (None, "avg") and (classes or global_pool):
            raise InputError(f"global_pool={global_pool!r} is not available; valid: 'avg', None, or '' with 0 classes")
        self.net.reset_classifier(classes, "avg" if classes else global_pool)
        if classes != self.num_classes:
            self.pretrained_cfg.pop("label_names", None)
        self._read_sizes()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        try:
            self.net.set_grad_checkpointing(enable)
        except AssertionError as error:
            raise CompositionError(f"{self.spec} cannot recompute its blocks: {error}") from error
        self.grad_checkpointing = enable

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """End the network at the highest of these levels, in place, as timm does; return the levels."""
        levels = self.levels(indices)
        self.net.prune_intermediate_layers(levels, prune_norm, prune_head)
        self.feature_info = self.feature_info[: max(levels) + 1]
        self._read_sizes()
        return levels

    def fuse(self, dtype: torch.dtype | None = None) -> Self:
        """Round the weights for inference; no norm is folded, since timm decides what follows what."""
        fuse_network(self, (), dtype)
        return self

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Map a parameter's name to its layer, from the stem up, for timm's layer-wise learning rates."""
        layers = group_parameters(self.net, self.net.group_matcher(coarse), reverse=True)
        return lambda name: int(layers[name.removeprefix("net.")])

    @property
    def classifier_names(self) -> tuple[str, ...]:
        return _names(self.net.pretrained_cfg["classifier"])

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return _names(self.net.pretrained_cfg["first_conv"])


def timm_classifier(spec: Spec, num_classes: int, in_chans: int) -> TimmClassifier:
    """Build the network of that name, after a look at it on the meta device.

    Raises:
        CompositionError: it is not a convolutional network that takes images of any size.
    """
    name = str(spec["network"])
    options = {"num_classes": num_classes, "in_chans": in_chans}
    with torch.device("meta"):
        least = _least_image_size(timm.create_model(name, **options).eval(), in_chans)
    return TimmClassifier(spec, timm.create_model(name, **options), least, in_chans)


def _least_image_size(net: Any, in_chans: int) -> int:
    """Check the network and its feature map; return 1, or a multiple of its coarsest reduction."""
    cfg = net.pretrained_cfg
    wanted = "the family timm wants convolutional networks, such as timm_resnet18"
    if cfg["fixed_input_size"] or not (_names(cfg["classifier"]) and _names(cfg["first_conv"])):
        raise CompositionError(f"it takes images of one size alone, or timm names no stem or head of it; {wanted}")
    coarsest = max(level["reduction"] for level in net.feature_info)
    side = cfg["input_size"][1]
    for least in (1, *range(coarsest, side, coarsest), side):
        x = torch.empty(1, in_chans, least, least)
        try:
            with torch.no_grad():
                net(x)
                features = net.forward_features(x)
        except (RuntimeError, AssertionError) as error:  # torch and timm raise these if the image is too small
            failure = error
            continue
        if not (isinstance(features, Tensor) and features.dim() == 4 and features.shape[1] == net.num_features):
            raise CompositionError(f"it has no feature map (N, {net.num_features}, H, W) before its head; {wanted}")
        return int(least)
    raise CompositionError(f"it fails on images of {side} pixels: {failure}")


def _names(named: str | Sequence[str] | None) -> tuple[str, ...]:
    return tuple(f"net.{name}" for name in ((named,) if isinstance(named, str) else named or ()))
