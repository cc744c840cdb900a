"""Convert torchvision's ResNets: `zoo convert torchvision resnet18-f37072fd.pth --out DIR`."""

from __future__ import annotations

from collections import Counter
from typing import final

from zoo.contracts import CheckpointFacts, Converted
from zoo.errors import InputError, suggest
from zoo_timm.residual import ResNetConverter, published_name

DEFAULT = "IMAGENET1K_V1"


@final
class TorchvisionConverter(ResNetConverter):
    """resnet18, 34, 50, 101 and 152 of torchvision; weights `IMAGENET1K_V1` or, from resnet50 on, `IMAGENET1K_V2`."""

    publisher = "torchvision"

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """Return what the weights' transforms state; labels if they are named and have as many classes.

        Raises `InputError` if torchvision has no weights of that name for that network.
        """
        from torchvision.models import get_model_weights

        network = published_name(converted)
        known = {weights.name: weights for weights in get_model_weights(network)}
        chosen = self.weights or DEFAULT
        if chosen not in known:
            raise InputError(f"torchvision has no weights {chosen!r} of {network}{suggest(chosen, known)}")
        transforms, categories = known[chosen].transforms(), known[chosen].meta["categories"]
        labels: tuple[str, ...] = ()
        if self.weights and len(categories) == converted.num_classes:
            shared = Counter(categories)  # with its number behind a label that several classes have
            labels = tuple(f"{each} ({i})" if shared[each] > 1 else each for i, each in enumerate(categories))
        return CheckpointFacts(
            labels=labels,
            image_size=transforms.crop_size[0],
            interpolation=transforms.interpolation.value,
            crop_pct=transforms.crop_size[0] / transforms.resize_size[0],
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            note="" if self.weights else self.assumed(f"{network} {chosen}"),
        )
