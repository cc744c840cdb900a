"""Contract of a family: the fields of its names, and the network that components become. Imports no torch."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final

from zoo.errors import ModelNameError, OptionError, UnknownComponentError, suggest
from zoo.names import ComponentNames, Grammar, Spec, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier
    from zoo.contracts.converter import CheckpointFacts, HubFile


MAX_CLASSES = 1_000_000
MAX_CHANNELS = 4096
DEFAULT_IMAGE_SIZE = 224  # pixels a side unless stated: the size for which papers give costs
SMALL_IMAGE_SIZE = 32  # of CIFAR's images, which checkpoints without a stated size were usually trained on
MAX_IMAGE_SIZE = 16_384  # in training, evaluation and publication
MAX_PROFILED_SIZE = 4096  # in profiles and exported graphs


class Components(Protocol):
    """The registry, as families see it."""

    def load(self, kind: str, name: str) -> type[Any]:
        """Load the class behind a name; raises a `ComponentError` or `UnknownComponentError`."""


@final
@dataclass(frozen=True)
class BuildRequest:
    """Input of `Family.build`.

    Attributes:
        spec: the parsed name.
        components: loads the components of the name.
        num_classes: logits; 0 for none.
        in_chans: image channels.
    """

    spec: Spec
    components: Components
    num_classes: int
    in_chans: int

    @property
    def options(self) -> Mapping[str, Any]:
        """Given options of the family, out of `Family.options`."""
        return self.spec.options.get("family", {})

    def component(self, kind: str) -> Callable[..., Any]:
        """Load the name's class of a kind ('encoder', 'neuron', …) and bind its given options.

        Raises:
            OptionError: the class declares no option of that name.
            ComponentError, UnknownComponentError: as `Components.load` does.
        """
        name = str(self.spec[kind])
        cls: Any = self.components.load(kind, name)
        options = self.spec.options.get(kind, {})
        for option in options:
            if option not in cls.options:
                advice = suggest(option, cls.options) or "; it takes none"
                raise OptionError(f"{kind} {name!r} does not take the option {option!r}{advice}")
        return partial(cls, **options) if options else cls


WITHOUT_SPIKES = "An image classifier without spikes"


@final
@dataclass(frozen=True)
class About:
    """Description of a network on its model card, in Markdown.

    Attributes:
        summary: the kind of network, in sentences.
        paper: that it follows, such as `the HAS-8 paper`; empty for none.
        citation: of that paper; empty for none.
    """

    summary: str
    paper: str = ""
    citation: str = ""


@final
@dataclass(frozen=True)
class PublishedWeights:
    """Weights that a network's own publisher keeps on the Hugging Face Hub, and no catalog lists.

    Attributes:
        tag: their name.
        architecture: the publisher's name of the network.
        file: their file, beside a config.json of timm's form.
        prefix: of the network's keys, in front of the file's.
        num_classes, in_chans: of their network.
        stated: preparation of images, labels, licence.
    """

    tag: str
    architecture: str
    file: HubFile
    prefix: str
    num_classes: int
    in_chans: int
    stated: CheckpointFacts


class Family(ABC):
    """Parses its own remainder of a name and builds the network that it describes.

    Attributes:
        named_by: fields whose value is a name in another package → that package; its version is stored with
            weights, as a component's is.
        examples: smallest names behind `family_`, for the conformance kit; a `GrammarFamily` needs none.
    """

    api_version: ClassVar[int]
    named_by: ClassVar[Mapping[str, str]] = MappingProxyType({})
    examples: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        """Parse the name behind `family_` into fields; raises `ModelNameError`."""

    @abstractmethod
    def format(self, fields: Mapping[str, Value]) -> str:
        """Write fields as the canonical remainder: parse(format(fields)) == fields."""

    @abstractmethod
    def build(self, request: BuildRequest) -> ImageClassifier:
        """Build the network, freshly initialised; raises `CompositionError`."""

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        """Describe the network for a model card; by default with the docstring's first paragraph.

        Args:
            fields: of its name.
            timesteps: T; 1 for a network without spikes.
        """
        kind = f"A spiking image classifier of {timesteps} timesteps" if timesteps > 1 else WITHOUT_SPIKES
        summary = " ".join(inspect.cleandoc(type(self).__doc__ or "").partition("\n\n")[0].split())
        return About(f"{kind}: {summary.rstrip('.')}." if summary else f"{kind}.")

    def control(self, fields: Mapping[str, Value]) -> str | None:
        """Name the same network without spikes, for comparisons; None if there is none."""
        return None

    def twin(self, spec: Spec) -> str | None:
        """Name the network that gives the same logits by the same tensors, with the option `levels=T`; None without.

        A network whose neurons wait for all T currents has one: see `zoo.neurons.nodes`.
        """
        return None

    def twin_levels(self, spec: Spec, timesteps: int) -> int:
        """Return the option `levels` of the twin of a network of T timesteps: T, unless neurons write digits."""
        return timesteps

    def names(self) -> tuple[str, ...]:
        """List all names behind `family_`; none if there are too many. Imports no torch."""
        return ()

    def published(self, fields: Mapping[str, Value], tag: str | None) -> PublishedWeights | None:
        """Find the checkpoint of the network's own publisher; None if it has no such publisher.

        Args:
            fields: of its name.
            tag: of the weights; None for the publisher's default.

        Raises:
            ModelNameError: the publisher has no such weights.
        """
        return None

    @property
    def options(self) -> frozenset[str]:
        """Names of further keyword arguments of `create_model`."""
        return frozenset()


class GrammarFamily(Family):
    """A family whose names follow one of a few grammars, advice apart by their number of parts."""

    grammars: ClassVar[tuple[Grammar, ...]]

    @final
    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        texts = remainder.split("_")
        grammar = min(self.grammars, key=lambda grammar: min(abs(len(texts) - length) for length in grammar.lengths))
        try:
            fields = grammar.parse(texts, known)
        except ModelNameError as error:
            if len(self.grammars) == 1 or isinstance(error, UnknownComponentError):  # the caller names its plugin
                raise
            forms = " | ".join(grammar.pattern for grammar in self.grammars)
            raise type(error)(f"{error}; the forms are {forms}") from None
        self.check(dict(fields))
        return fields

    @final
    def format(self, fields: Mapping[str, Value]) -> str:
        for grammar in self.grammars:
            if {part.name for part in grammar.parts} == set(fields):
                return grammar.format(fields)
        raise ModelNameError(f"no name has exactly the fields {sorted(fields)}")

    def names(self) -> tuple[str, ...]:
        """List the names of grammars whose parts are all fixed words."""
        return tuple(name for grammar in self.grammars for name in grammar.names)

    def check(self, fields: Mapping[str, Value]) -> None:
        """Raise `ModelNameError` if values do not go together."""
