"""Weights that a network's own publisher keeps on the Hub: fetched, and compared with what is said of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any, final

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from zoo.catalog.schema import complaints
from zoo.catalog.sources import HubRepository
from zoo.contracts.family import PublishedWeights
from zoo.errors import WeightError
from zoo.names import Spec
from zoo.registry.registry import Registry
from zoo.weights.config_json import CONFIG, MAX_CONFIG_BYTES
from zoo.weights.hub_client import HubAccess
from zoo.weights.load import count_classes
from zoo.weights.read import parse_weight

MAX_BYTES = 1 << 32
"""Of a file that is downloaded; timm's largest convolutional networks have about half of it."""


_AS_TIMM_WRITES_IT = ConfigDict(frozen=True, extra="ignore")


@final
class _Preparation(BaseModel):
    model_config = _AS_TIMM_WRITES_IT

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int


@final
class _Config(BaseModel):
    """config.json as timm writes it."""

    model_config = _AS_TIMM_WRITES_IT

    architecture: str
    pretrained_cfg: _Preparation


def read_published(
    spec: Spec, published: PublishedWeights, access: HubAccess, registry: Registry | None = None
) -> tuple[dict[str, Tensor], HubRepository, str]:
    """The tensors by our keys, the repository at the commit that they are of, and the file's sha256.

    The bytes are those of the Hub's own index, by their sha256. Beside that, config.json and the tensors must say what
    the publisher's library says of architecture, classes, channels, image size, mean and std. With HF_HUB_OFFLINE the
    commit is the one of the last time, and its files are those of the cache.

    Args:
        spec: of the network.
        published: what its publisher says.
        access: how the Hub is reached.
        registry: components; the installed ones by default.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        WeightError: the repository holds something else than the library says, or no safetensors file.
    """
    repository = access.pin_moving(HubRepository(published.file.repo_id, published.file.revision))
    _check_config(published, access.fetch(repository, CONFIG, MAX_CONFIG_BYTES), repository)
    origin = f"{published.file.filename} of {repository}"
    data = access.fetch(repository, published.file.filename, MAX_BYTES)
    tensors = parse_weight(data, origin)
    state = {published.prefix + key: value for key, value in tensors.items()}
    classes, channels = count_classes(spec, state, origin, registry)
    _compare(origin, "classes", classes, published.num_classes)
    _compare(origin, "image channels", channels, published.in_chans)
    return state, repository, hashlib.sha256(data).hexdigest()


def _check_config(published: PublishedWeights, data: bytes, repository: HubRepository) -> None:
    place = f"{CONFIG} of {repository}"
    try:
        config = _Config.model_validate(json.loads(data))
    except (ValueError, RecursionError) as error:
        reason = complaints(error) if isinstance(error, ValidationError) else str(error)
        raise WeightError(f"{place} is not of timm's form: {reason}") from error
    stated, said = published.stated, config.pretrained_cfg
    _compare(place, "architecture", config.architecture, published.architecture)
    _compare(place, "classes", said.num_classes, published.num_classes)
    side = stated.image_size
    _compare(place, "input_size", said.input_size, (published.in_chans, side, side))
    _compare(place, "mean", said.mean, stated.mean)
    _compare(place, "std", said.std, stated.std)


def _compare(place: str, what: str, said: Any, expected: Any) -> None:
    if said != expected:
        raise WeightError(
            f"{place} has {what} {said}, but the installed library of its publisher says {expected}; do not use it, or "
            "install the version of the library that it was published with"
        )
