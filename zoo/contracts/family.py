"""The contract of a family: its name fields, and how components become a network. Imports no torch."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final

from zoo.errors import ModelNameError, OptionError, suggest
from zoo.names import ComponentNames, Grammar, Spec, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier
    from zoo.contracts.converter import HubFile, Stated


MAX_CLASSES = 1_000_000
MAX_CHANNELS = 4096


class Components(Protocol):
    """What a family needs of the registry: the class behind a component's name."""

    def load(self, kind: str, name: str) -> type[Any]:
        """The class; raises a `ComponentError` or `UnknownComponentError`."""


@final
@dataclass(frozen=True)
class BuildRequest:
    """What a family gets to build a network from.

    Attributes:
        spec: the parsed name.
        components: where to load the components that it names.
        num_classes: logits; 0 for none.
        in_chans: image channels.
    """

    spec: Spec
    components: Components
    num_classes: int
    in_chans: int
    _asked: set[str] = field(default_factory=set)

    @property
    def options(self) -> Mapping[str, Any]:
        """Those of `Family.options` that were given."""
        return self.spec.options.get("family", {})

    def component(self, kind: str) -> Callable[..., Any]:
        """The class that the name has for this kind ('encoder', 'neuron', …), with the options given for it.

        Raises:
            OptionError: the class does not declare an option of that name.
            ComponentError, UnknownComponentError: as `Components.load` does.
        """
        self._asked.add(kind)
        name = str(self.spec[kind])
        cls: Any = self.components.load(kind, name)
        given = self.spec.options.get(kind, {})
        for option in given:
            if option not in cls.options:
                told = suggest(option, cls.options) or "; it takes none"
                raise OptionError(f"{self.spec}: {kind} {name!r} does not take the option {option!r}{told}")
        return partial(cls, **given) if given else cls

    def check_all_used(self) -> None:
        """Raise `OptionError` where options were given to what the network does not have, or the family ignores."""
        for kind in self.spec.options.keys() - self._asked - {"family"}:
            if self.spec.get(kind) is None:
                raise OptionError(f"{self.spec} has no {kind}, so there is nothing that {kind}_options could change")
            raise OptionError(
                f"the family {self.spec.family!r} gives no options to its {kind}; leave {kind}_options out"
            )


WITHOUT_SPIKES = "An image classifier without spikes"


@final
@dataclass(frozen=True)
class About:
    """What a model card says of a network, in Markdown.

    Attributes:
        summary: a sentence or more on what kind of network it is.
        paper: what it follows, such as `the HAS-8 paper`; empty for none.
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
        tag: what they are called.
        architecture: the publisher's name of the network.
        file: where they lie, beside a config.json of timm's form.
        prefix: what the network's keys have in front of the file's.
        num_classes, in_chans: of the network that they are of.
        stated: how images are prepared, what the classes are called, and the licence.
    """

    tag: str
    architecture: str
    file: HubFile
    prefix: str
    num_classes: int
    in_chans: int
    stated: Stated


class Family(ABC):
    """Parses its own remainder of a name and builds the network that it describes.

    Attributes:
        named_by: fields whose value is a name in another distribution, with that distribution; like components they
            are shown with its version, which is stored with weights.
        examples: names of its smallest networks, each behind `family_`, which the conformance kit tries where a test
            names none; a `GrammarFamily` needs none, for the kit makes one of every grammar.
    """

    api_version: ClassVar[int]
    named_by: ClassVar[Mapping[str, str]] = MappingProxyType({})
    examples: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        """Fields of the name after `family_`; raises `ModelNameError`."""

    @abstractmethod
    def format(self, fields: Mapping[str, Value]) -> str:
        """The canonical remainder, so that parse(format(fields)) == fields."""

    @abstractmethod
    def build(self, request: BuildRequest) -> ImageClassifier:
        """The network, freshly initialised; raises `CompositionError`."""

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        """What a model card says of the network; by default whether it spikes, and the docstring's first paragraph.

        Args:
            fields: of its name.
            timesteps: T; 1 for a network without spikes.
        """
        kind = f"A spiking image classifier of {timesteps} timesteps" if timesteps > 1 else WITHOUT_SPIKES
        summary = " ".join(inspect.cleandoc(type(self).__doc__ or "").partition("\n\n")[0].split())
        return About(f"{kind}: {summary.rstrip('.')}." if summary else f"{kind}.")

    def control(self, fields: Mapping[str, Value]) -> str | None:
        """The name of the same network without spikes, which a comparison shows beside it; None where there is none."""
        return None

    def names(self) -> tuple[str, ...]:
        """Every name behind `family_`, where they can be listed; none where there are too many. Imports no torch."""
        return ()

    def published(self, fields: Mapping[str, Value], tag: str | None) -> PublishedWeights | None:
        """The weights that the network's own publisher has of it; by default None, for there is no such publisher.

        Args:
            fields: of its name.
            tag: what they are called; None for the publisher's default.

        Raises:
            ModelNameError: the publisher has none, or none of that tag.
        """
        return None

    @property
    def options(self) -> frozenset[str]:
        """Names of the further keyword arguments that `create_model` may pass on."""
        return frozenset()


class GrammarFamily(Family):
    """A family whose names follow one of a few grammars, told apart by their number of parts."""

    grammars: ClassVar[tuple[Grammar, ...]]

    @final
    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        texts = remainder.split("_")
        grammar = self._grammar(len(texts))
        try:
            fields = grammar.parse(texts, known)
        except ModelNameError as error:
            forms = " | ".join(grammar.pattern for grammar in self.grammars)
            if len(self.grammars) == 1 or "the form is" in str(error):
                raise
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
        """Those of the grammars in which every part is one of a fixed set of words."""
        return tuple(name for grammar in self.grammars for name in grammar.names)

    def check(self, fields: Mapping[str, Value]) -> None:
        """Raise `ModelNameError` for values that are valid one by one but not together."""

    def _grammar(self, length: int) -> Grammar:
        for grammar in self.grammars:
            if length in grammar.lengths:
                return grammar
        long_enough = [grammar for grammar in self.grammars if length <= max(grammar.lengths)]
        return min(long_enough or self.grammars, key=lambda g: min(abs(length - n) for n in g.lengths))
