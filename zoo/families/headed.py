"""Networks with a classifier head, and those of a backbone's stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.backbones.layers import PooledLinearHead
from zoo.contracts.backbone import Backbone, BlockPlan, ClassifierHead, PairBuilder
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.family import MAX_CLASSES
from zoo.errors import InputError, check_count
from zoo.names import Spec


class HeadedClassifier(ImageClassifier):
    """An image classifier whose last part is a `ClassifierHead` named `head`.

    Attributes:
        stem_names: pattern of the names of the stem's parameters.
    """

    head: ClassifierHead
    stem_names: ClassVar[str] = r"^stem\."
    _lost_norms = False

    def run_blocks(self, blocks: nn.Module, x: Tensor) -> Tensor:
        """Run x through the blocks of one stage, each recomputed in the backward pass if that is switched on."""
        if not (self.grad_checkpointing and self.training):
            return cast(Tensor, blocks(x))  # the stage itself is called, so that its hooks see its feature map
        for block in cast(nn.Sequential, blocks):
            x = cast(Tensor, checkpoint(block, x, use_reentrant=False))
        return x

    def norm_pairs(self) -> Iterable[tuple[str, str]]:
        """Yield names of (layer, its only successor): see `fuse_network`."""
        from zoo.families.fusion import adjacent_layers

        return adjacent_layers(self)

    def fuse(self, dtype: torch.dtype | None = None) -> Self:
        from zoo.families.fusion import fuse_network  # for those who fuse

        if fuse_network(self, self.norm_pairs(), dtype):
            self._lost_norms = True
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode, or eval mode; see `torch.nn.Module.train`.

        Raises:
            InputError: training mode of a network whose batch norms `fuse()` has folded.
        """
        if mode and self._lost_norms:
            said = f"{self.spec} has no batch norms left to train: fuse() folded them; train first, fuse afterwards"
            raise InputError(f"{said} (gradients flow in eval mode too)")
        return super().train(mode)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward_stages(x, len(self.feature_info) - 1)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return cast(Tensor, self.head(x, pre_logits))

    def get_classifier(self) -> nn.Module:
        return self.head.classifier()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        classes = check_count("num_classes", num_classes, 0, MAX_CLASSES)
        pool = (self.head.global_pool or ("avg" if classes else "")) if global_pool is None else global_pool
        if pool not in ("avg", ""):
            raise InputError(f"global_pool={global_pool!r} is not available; valid: 'avg', '' or None")
        if classes and not pool:
            raise InputError("classes need pooled features; pass global_pool='avg', or num_classes=0 for the map")
        self.head.reset_classes(classes)
        self.head.global_pool = pool
        trunk = next(self.parameters())
        self.head.to(device=trunk.device, dtype=trunk.dtype).train(self.training)
        if classes != self.num_classes:
            self.pretrained_cfg.pop("label_names", None)
        self.num_classes = classes

    def drop_above(self, last: int) -> None:
        """Drop the layers above level `last`; a network that keeps them leaves them unused."""

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """End the network at the highest of these levels, in place, with timm's signature.

        A head made for another level is replaced by global average pooling and a linear layer.

        Args:
            indices: as for `forward_intermediates`.
            prune_norm: no effect; there is no norm layer after the last block.
            prune_head: also if the last level is kept; the network then returns the unpooled map.

        Returns:
            The levels that `indices` means.

        Raises:
            InputError: an index out of range; nothing is changed then.
        """
        levels = self.levels(indices)
        last = max(levels)
        shortened = last < len(self.feature_info) - 1
        if shortened:
            self.drop_above(last)
            self.feature_info = self.feature_info[: last + 1]
        if shortened or prune_head:
            self.num_features = self.head_hidden_size = self.feature_info[-1]["num_chs"]
            self.head = PooledLinearHead(self.num_features, 0, "").train(self.training)
            self.num_classes = 0
        return levels

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of the parameters' names, from the stem up, by which timm lowers learning rates layer by layer.

        Args:
            coarse: a group for every stage, not for every block.
        """
        return {"stem": self.stem_names, "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    @property
    def classifier_names(self) -> tuple[str, ...]:
        return tuple(f"head.{name}" for name in self.head.classifier_names())


class StagedClassifier(HeadedClassifier):
    """The stages of a backbone, sequences of blocks with branches `analog`, `second` and `spiking`, and its head."""

    stem_names: ClassVar[str] = r"^stages\.0\.0\."

    def __init__(
        self,
        spec: Spec,
        backbone: Backbone,
        block: Callable[[BlockPlan], nn.Module],
        pair: PairBuilder,
        num_classes: int,
        timesteps: int,
    ) -> None:
        super().__init__(spec, num_classes, backbone.in_chans, backbone.min_image_size)
        self._timesteps, self._first_convs = timesteps, backbone.first_convs()
        self.feature_info = backbone.feature_info()
        self.stages = nn.Sequential(*(nn.Sequential(*map(block, plans)) for plans in backbone.stages()))
        self.head = backbone.head(num_classes, "avg", pair)
        self.num_features, self.head_hidden_size = self.head.num_features, self.head.hidden_size

    @property
    def timesteps(self) -> int:
        return self._timesteps

    @timesteps.setter
    def timesteps(self, timesteps: int) -> None:
        self._timesteps = timesteps

    def entering(self, x: Tensor) -> Tensor:
        """Return what the first block takes of images."""
        return x

    def run_stages(self, x: Tensor, last: int) -> Iterator[Tensor]:
        """Yield what the stages 0…last pass on."""
        self.check_image(x)
        x = self.entering(x)
        for stage in list(self.stages)[: last + 1]:
            x = self.run_blocks(stage, x)
            yield x

    def drop_above(self, last: int) -> None:
        self.stages = nn.Sequential(*list(self.stages)[: last + 1])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.named_modules() if name.endswith(".spiking"))

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        names = dict(self.get_submodule("stages.0.0").named_children())
        branches = [branch for branch in ("analog", "second", "spiking") if branch in names]
        return tuple(f"stages.0.0.{branch}.{conv}" for branch in branches for conv in self._first_convs)
