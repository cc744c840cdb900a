"""What every network of the zoo does with its classifier head and with its blocks."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.contracts.modules import ClassifierHead, ImageClassifier


class HeadedClassifier(ImageClassifier):
    """An image classifier whose last part is a `ClassifierHead` named `head`."""

    head: ClassifierHead

    def run_blocks(self, blocks: nn.Module, x: Tensor) -> Tensor:
        """x through the blocks of one stage, each recomputed in the backward pass where that is switched on."""
        for block in cast(nn.Sequential, blocks):
            if self.grad_checkpointing and self.training:
                x = cast(Tensor, checkpoint(block, x, use_reentrant=False))
            else:
                x = block(x)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward_stages(x, len(self.feature_info) - 1)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return cast(Tensor, self.head(x, pre_logits))

    def get_classifier(self) -> nn.Module:
        return self.head.classifier()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    @property
    def classifier_names(self) -> tuple[str, ...]:
        return tuple(f"head.{name}" for name in self.head.classifier_names())
