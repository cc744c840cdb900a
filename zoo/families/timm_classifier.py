"""A network of timm's as an image classifier of the zoo; the network is theirs, and is not taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from zoo.contracts.classifier import FeatureInfo, ImageClassifier
from zoo.contracts.family import MAX_CLASSES
from zoo.errors import CompositionError, InputError, check_count
from zoo.families.fusion import fuse_network
from zoo.names import Spec


class TimmClassifier(ImageClassifier):
    """timm's network, named `net`, behind the zoo's contract; without spikes.

    Args:
        spec: the parsed name.
        net: with a feature map (N, C, H, W) before its head.
        min_image_size: fewest pixels a side that it takes.
        in_chans: image channels.
    """

    net: Any

    def __init__(self, spec: Spec, net: Any, min_image_size: int, in_chans: int) -> None:
        super().__init__()
        self.spec, self.in_chans, self.min_image_size = spec, in_chans, min_image_size
        self.net, self._pooled = net, True
        self._read_sizes()
        self.grad_checkpointing = False
        self.pretrained_cfg = {}
        self.feature_info = [
            FeatureInfo(num_chs=level["num_chs"], reduction=level["reduction"], module=f"net.{level['module']}")
            for level in net.feature_info
        ]

    def _read_sizes(self) -> None:
        self.num_classes = self.net.num_classes
        self.num_features, self.head_hidden_size = self.net.num_features, self.net.head_hidden_size

    def forward_features(self, x: Tensor) -> Tensor:
        self.check_image(x)
        features: Tensor = self.net.forward_features(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        logits: Tensor = self.net.forward_head(x, pre_logits=pre_logits)
        return logits

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        return self._taps(x, list(range(last + 1)), stop_early=True)[1]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        # The last level need not be the final map: some networks go on behind it.
        if output_fmt != "NCHW":
            raise InputError(f"output_fmt must be 'NCHW', not {output_fmt!r}")
        self.check_image(x)
        levels = self.levels(indices)
        sorted_levels = sorted(set(levels))
        final, maps = self._taps(x, sorted_levels, stop_early, norm)
        chosen = [maps[sorted_levels.index(level)] for level in levels]
        return chosen if intermediates_only else (final, chosen)

    def _taps(self, x: Tensor, levels: list[int], stop_early: bool, norm: bool = False) -> tuple[Tensor, list[Tensor]]:
        final, maps = self.net.forward_intermediates(x, indices=levels, norm=norm, stop_early=stop_early)
        return final, maps

    def get_classifier(self) -> nn.Module:
        classifier = self.net.get_classifier()
        return classifier if isinstance(classifier, nn.Module) else nn.ModuleList(classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        classes = check_count("num_classes", num_classes, 0, MAX_CLASSES)
        if global_pool not in (None, "avg") and (classes or global_pool):
            raise InputError(f"global_pool={global_pool!r} is not available; valid: 'avg', None, or '' with 0 classes")
        pool = "avg" if classes and not self._pooled else global_pool
        self.net.reset_classifier(classes, pool)
        self._pooled = self._pooled if pool is None else pool == "avg"
        self._read_sizes()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        try:
            self.net.set_grad_checkpointing(enable)
        except AssertionError as error:  # timm's way to say so
            raise CompositionError(f"{self.spec} cannot recompute its blocks: {error}") from error
        self.grad_checkpointing = enable

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """End the network at the highest of these levels, in place, as timm does; the levels that `indices` means."""
        levels = self.levels(indices)
        self.net.prune_intermediate_layers(levels, prune_norm, prune_head)
        shortened = max(levels) < len(self.feature_info) - 1
        self.feature_info = self.feature_info[: max(levels) + 1]
        self._pooled = self._pooled and not (shortened or prune_head)
        self._read_sizes()
        return levels

    def fuse(self, dtype: torch.dtype | None = None) -> Self:
        """As every network's; but no norm is folded, for which layer sees what is timm's affair."""
        fuse_network(self, (), dtype)
        return self

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """A parameter's name → its layer, from the stem up, by which timm lowers learning rates layer by layer."""
        layers = group_parameters(self.net, self.net.group_matcher(coarse), reverse=True)
        return lambda name: int(layers[name.removeprefix("net.")])

    @property
    def classifier_names(self) -> tuple[str, ...]:
        return _names(self.net.pretrained_cfg["classifier"])

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return _names(self.net.pretrained_cfg["first_conv"])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return ()

    @property
    def timesteps(self) -> int:
        return 1


def timm_classifier(spec: Spec, num_classes: int, in_chans: int) -> TimmClassifier:
    """The network of that name, after a look at it where it takes no memory.

    Raises:
        CompositionError: it is not a convolutional network that takes images of any size.
    """
    name, options = str(spec["network"]), {"num_classes": num_classes, "in_chans": in_chans}
    with torch.device("meta"):
        least = _look_at(spec, timm.create_model(name, **options).eval(), in_chans)
    return TimmClassifier(spec, timm.create_model(name, **options), least, in_chans)


_WANTED = "the family timm wants convolutional networks, such as timm_resnet18"


def _look_at(spec: Spec, net: Any, in_chans: int) -> int:
    """Check the network and its feature map; the fewest pixels a side: 1, or a multiple of its coarsest reduction."""
    cfg = net.pretrained_cfg
    if cfg["fixed_input_size"]:
        raise CompositionError(f"{spec} takes images of {cfg['input_size'][1]} pixels a side alone; {_WANTED}")
    if not (_names(cfg["classifier"]) and _names(cfg["first_conv"])):
        raise CompositionError(f"{spec}: timm names no classifier or no first convolution of it; {_WANTED}")
    coarsest = max(level["reduction"] for level in net.feature_info)
    for side in (1, *range(coarsest, cfg["input_size"][1], coarsest)):
        try:
            _require_map(spec, net, torch.empty(1, in_chans, side, side))
        except (RuntimeError, AssertionError):  # what torch and timm say of an image that is too small
            continue
        return side
    _require_map(spec, net, torch.empty(1, in_chans, *cfg["input_size"][1:]))
    return int(cfg["input_size"][1])


def _require_map(spec: Spec, net: Any, x: Tensor) -> None:
    with torch.no_grad():
        net(x)
        features = net.forward_features(x)
    if not (isinstance(features, Tensor) and features.dim() == 4 and features.shape[1] == net.num_features):
        raise CompositionError(f"{spec} has no feature map (N, {net.num_features}, H, W) before its head; {_WANTED}")


def _names(named: str | Sequence[str] | None) -> tuple[str, ...]:
    return tuple(f"net.{name}" for name in ((named,) if isinstance(named, str) else named or ()))
