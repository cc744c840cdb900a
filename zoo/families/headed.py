"""What every network of the zoo does with its classifier head and with its blocks."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.contracts.family import MAX_CLASSES
from zoo.contracts.modules import ClassifierHead, ImageClassifier
from zoo.errors import InputError, check_count


class HeadedClassifier(ImageClassifier):
    """An image classifier whose last part is a `ClassifierHead` named `head`."""

    head: ClassifierHead

    def run_blocks(self, blocks: nn.Module, x: Tensor) -> Tensor:
        """x through the blocks of one stage, each recomputed in the backward pass where that is switched on."""
        if not (self.grad_checkpointing and self.training):
            return cast(Tensor, blocks(x))  # the stage itself is called, so that its hooks see its feature map
        for block in cast(nn.Sequential, blocks):
            x = cast(Tensor, checkpoint(block, x, use_reentrant=False))
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward_stages(x, len(self.feature_info) - 1)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return cast(Tensor, self.head(x, pre_logits))

    def get_classifier(self) -> nn.Module:
        return self.head.classifier()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        classes = check_count("num_classes", num_classes, 0, MAX_CLASSES)
        pool = self.head.global_pool if global_pool is None else global_pool
        if pool not in ("avg", ""):
            raise InputError(f"global_pool={global_pool!r} is not available; valid: 'avg', '' or None")
        if classes and not pool:
            raise InputError("classes need pooled features; pass global_pool='avg', or num_classes=0 for the map")
        self.head.reset_classes(classes)
        self.head.global_pool = pool
        trunk = next(self.parameters())
        self.head.to(device=trunk.device, dtype=trunk.dtype)
        self.num_classes = classes

    @property
    def classifier_names(self) -> tuple[str, ...]:
        return tuple(f"head.{name}" for name in self.head.classifier_names())
