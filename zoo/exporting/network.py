"""What every format shares: the network of a name, what a file says of it, and the checks of its sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack, final

import torch
from torch import Tensor, nn

from zoo.catalog.schema import StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import display_name
from zoo.errors import InputError, TagError
from zoo.factory import Places, open_model
from zoo.hub.read import LIBRARY
from zoo.weights import stated_preprocessing


def network_to_export(name: str, **places: Unpack[Places]) -> tuple[ImageClassifier, StoredWeight | None]:
    """The network of a name and the weight that is in it: the name's, or none, and then it is untrained.

    Args:
        name: as for `create_model`.
        **places: `endpoint`, `cache_dir`, `token`, `registry` and `catalog`, as for `create_model`.

    Raises:
        ModelNameError: the name is wrong; and what else `create_model` raises.
        TagError: the tag is wrong, or of a weight without a record.
    """
    opened = open_model(name, listed=True, **places)
    if opened.published is not None:
        raise TagError(
            f"{opened.weight_name} is a weight of its own publisher, without the record that the file is to hold; "
            "build it by create_model, write it by zoo.save, and export that folder"
        )
    return opened.build_settled(), opened.weight


@final
class Normalised(nn.Module):
    """A network behind its own normalisation: pixels in [0, 1], (N, C, H, W) → logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model
        mean, std = stated_preprocessing(model).of_channels(model.in_chans)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of pixels in [0, 1]."""
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


def describe_network(model: ImageClassifier, weight: StoredWeight | None, image_size: int) -> dict[str, Any]:
    """Name and version of the zoo; of a weight also its sha256, licence, preprocessing and labels."""
    facts = {"name": str(model.spec), "version": version(LIBRARY)}
    if weight is None:
        return facts
    preprocessing = weight.preprocessing.model_dump(mode="json") | {"size": image_size}
    return facts | {
        "sha256": weight.sha256,
        "license": weight.license,
        "preprocessing": preprocessing | {"range": [0, 1], "channels": "RGB"},
        "labels": weight.labels,
    }


def check_image_size(model: ImageClassifier, image_size: int) -> None:
    """Raise `InputError` where the image is too small for the network."""
    if image_size < model.min_image_size:
        raise InputError(f"image size {image_size} is too small; {model.spec} takes {model.min_image_size} or more")


def example_images(model: ImageClassifier, image_size: int, count: int) -> Tensor:
    """Noise in [0, 1], (N, C, H, W), the same on every call.

    Raises:
        InputError: the network is on the meta device, so nothing can be computed.
    """
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, which holds no values; build it on 'cpu'")
    shape = (count, model.in_chans, image_size, image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(weights)


@contextmanager
def looking_at(out: Path) -> Iterator[None]:
    """What the file system says of a name, as an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{display_name(out)} cannot be written: {error.strerror or error}") from error
