"""What stands behind a name: no weight, a record's, or one that the network's own publisher keeps."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, final

from torch import Tensor

from zoo.catalog.records import Preprocessing, StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.family import DEFAULT_IMAGE_SIZE, PublishedWeights
from zoo.names import HubRepository, Source
from zoo.weights import load as weights

if TYPE_CHECKING:
    from zoo.weights.hub import Hub

DEFAULT_CLASSES = 1000
DEFAULT_CHANNELS = 3
_MAX_PUBLISHED_BYTES = 1 << 32  # timm's largest convolutional networks have about half of it


class Tensors(NamedTuple):
    """Tensors by key, what errors call them, and further entries of `pretrained_cfg`."""

    state: Mapping[str, Tensor]
    place: str
    facts: Mapping[str, str]


class WeightOrigin(ABC):
    """Tensors of a network before they are read, and what is known of them.

    What is not stated is empty; without a record there is no place of its bytes either.
    """

    record: StoredWeight | None = None
    source: Source | None = None

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        preprocessing: Preprocessing,
        tag: str = "",
        license: str = "",
        labels: tuple[str, ...] = (),
    ) -> None:
        self.num_classes, self.in_chans = num_classes, in_chans
        self.preprocessing = preprocessing
        self.tag = tag
        self.license = license
        self.labels = labels

    @abstractmethod
    def read(self, open_hub: Callable[[], Hub]) -> Tensors | None:
        """Read and verify the tensors; None if there are none. Raises `WeightError` and `HubError`."""

    def describe(self) -> dict[str, Any]:
        """Describe them in timm's words."""
        described: dict[str, Any] = {}
        if self.tag:
            described = {"tag": self.tag, "license": self.license or None, "label_names": list(self.labels)}
        described["num_classes"] = self.num_classes
        return described | weights.describe_preprocessing(self.preprocessing, self.in_chans)

    def describe_in(self, model: ImageClassifier, tensors: Tensors | None = None) -> dict[str, Any]:
        """Make the `pretrained_cfg` of a model that holds them; it has no labels if its classes differ."""
        described = self.describe()
        if self.num_classes != model.num_classes:
            described |= {"num_classes": model.num_classes, "label_names": []}
        described |= weights.describe_layers(model)
        return {"architecture": model.spec.text, **described, **(tensors.facts if tensors else {})}


@final
class NoRecord(WeightOrigin):
    """No weight, or the tensors of a file of which nothing is known."""

    def __init__(
        self, num_classes: int = DEFAULT_CLASSES, in_chans: int = DEFAULT_CHANNELS, tensors: Tensors | None = None
    ) -> None:
        super().__init__(num_classes, in_chans, Preprocessing(size=DEFAULT_IMAGE_SIZE))
        self.tensors = tensors

    def read(self, open_hub: Callable[[], Hub]) -> Tensors | None:
        """Return the tensors of the file."""
        return self.tensors

    def describe_in(self, model: ImageClassifier, tensors: Tensors | None = None) -> dict[str, Any]:
        """Describe a network without a checkpoint, of the model's own classes and channels."""
        described = NoRecord(model.num_classes, model.in_chans).describe()
        return {"architecture": model.spec.text, **described, **weights.describe_layers(model)}


@final
class Recorded(WeightOrigin):
    """A weight with a record, in a catalog or in a config.json."""

    def __init__(self, record: StoredWeight, source: Source) -> None:
        counts = record.num_classes, record.in_chans
        super().__init__(*counts, record.preprocessing, record.tag, record.license, record.labels)
        self.record, self.source = self._bytes_of = record, source

    def read(self, open_hub: Callable[[], Hub]) -> Tensors:
        """Read exactly the bytes that the record names."""
        record, source = self._bytes_of
        hub = open_hub() if isinstance(source, HubRepository) else None
        state = weights.parse_weight(weights.read_weight(record, source, hub), record.name)
        return Tensors(state, record.name, {"source": str(source)})


@final
class Published(WeightOrigin):
    """A weight that the network's own publisher keeps, at its newest commit."""

    def __init__(self, published: PublishedWeights) -> None:
        facts = published.stated
        preprocessing = weights.build_preprocessing(facts.image_size or DEFAULT_IMAGE_SIZE, vars(facts))
        counts = published.num_classes, published.in_chans
        super().__init__(*counts, preprocessing, published.tag, facts.license, facts.labels)
        self.published = published

    def read(self, open_hub: Callable[[], Hub]) -> Tensors:
        """Read the publisher's file, by our keys."""
        file, hub = self.published.file, open_hub()
        repository = hub.pin(HubRepository(file.repo_id, file.revision))
        data = hub.fetch(repository, file.filename, _MAX_PUBLISHED_BYTES)
        state = weights.parse_weight(data, f"{file.filename} of {repository}")
        facts = {"source": str(repository), "sha256": hashlib.sha256(data).hexdigest()}
        return Tensors({self.published.prefix + key: value for key, value in state.items()}, str(repository), facts)
