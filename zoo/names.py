"""Model name ⇄ spec: `has8_resnet_b32_m2_d4_fourier_bpd.cifar10` and its parts; references such as `local-dir:path`.

A name is a family, a remainder that the family parses, and after a dot an optional tag of weights. Loads no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, final

from zoo.errors import ModelNameError, OptionError, UnknownComponentError, shorten, suggest

MAX_NAME_LENGTH = 200
_DISTRIBUTION = re.compile(r"([a-z0-9-]+):")
_FOREIGN = re.compile(r"[^a-z0-9_.:-]")
TAG = re.compile(r"[a-z0-9][a-z0-9_-]*")

Value = str | int
OptionValue = str | int | float | bool | None
Options = Mapping[str, Mapping[str, OptionValue]]
"""kind ('neuron', …, or 'family') → keyword argument → its value, as JSON keeps it."""
ComponentNames = Callable[[str], Iterable[str]]
"""kind ('encoder', …) → the names that are registered."""


@final
@dataclass(frozen=True)
class Spec:
    """A parsed name.

    Attributes:
        family: the family's name.
        fields: what the family read, in the order of the name; plain strings and integers.
        text: the canonical name without tag; a component may stand behind its package (`zoo-luu:ratebits`).
        tag: which weights, or None.
        settings: given options of components and of the family; they are not part of the name.
        plain_text: `text` without packages, as catalogs list it.
    """

    family: str
    fields: tuple[tuple[str, Value], ...]
    text: str
    tag: str | None = None
    settings: tuple[tuple[str, tuple[tuple[str, OptionValue], ...]], ...] = ()
    plain_text: str = ""

    def __post_init__(self) -> None:
        if not self.plain_text:
            object.__setattr__(self, "plain_text", plain_name(self.text))

    def __str__(self) -> str:
        return f"{self.text}.{self.tag}" if self.tag else self.text

    def __getitem__(self, name: str) -> Value:
        return dict(self.fields)[name]

    def get(self, name: str) -> Value | None:
        """Return the field of that name, or None."""
        return dict(self.fields).get(name)

    def tagged(self, tag: str) -> Spec:
        """Copy with a choice of checkpoint."""
        return replace(self, tag=tag)

    def untagged(self) -> Spec:
        """Copy without a choice of checkpoint."""
        return replace(self, tag=None)

    @property
    def options(self) -> dict[str, dict[str, OptionValue]]:
        """Options given to each kind of component, and to the family under 'family'; {} for the defaults."""
        return {kind: dict(values) for kind, values in self.settings}

    def with_options(self, options: Options) -> Spec:
        """Copy with further options; one that is set already takes the new value.

        Raises:
            OptionError: a value cannot be stored, or the form is not kind → name → value.
        """
        merged = self.options
        for kind, values in options.items():
            argument = "options" if kind == "family" else f"{kind}_options"
            if not isinstance(values, Mapping):
                problem = f"{argument} is a mapping such as {{'tau': 4.0}}, not {shorten(repr(values))}"
                raise OptionError(f"{self}: {problem}")
            for name, value in values.items():
                endless = isinstance(value, float) and not math.isfinite(value)
                if endless or not (isinstance(name, str) and isinstance(value, OptionValue)):
                    problem = f"{argument}: {name}={value!r:.60} cannot be stored"
                    valid = "a finite number, text, boolean or None, by the option's own name"
                    raise OptionError(f"{self}: {problem}; valid: {valid}")
            merged[kind] = merged.get(kind, {}) | dict(values)
        settings = ((kind, tuple(sorted(values.items()))) for kind, values in sorted(merged.items()) if values)
        return replace(self, settings=tuple(settings))

    @property
    def distributions(self) -> frozenset[str]:
        """Distributions that the name asks for."""
        return frozenset(_DISTRIBUTION.findall(self.text))

    def to_json(self) -> dict[str, Any]:
        """Serialise the architecture to a JSON object; the key `options` is there if some were given."""
        content = {"name": self.text, "tag": self.tag, "family": self.family, "fields": dict(self.fields)}
        return content | ({"options": self.options} if self.settings else {})


def plain_name(text: str) -> str:
    """Remove the distributions that parts of a variant's name may stand behind."""
    return _DISTRIBUTION.sub("", text)


# Parts of a family's name between underscores; their `parse` raises a `ModelNameError` that names the part.


@final
@dataclass(frozen=True)
class NumberPart:
    """A positive integer behind a letter: `b32`."""

    name: str
    letter: str
    maximum: int
    default: ClassVar[None] = None

    def parse(self, text: str, known: ComponentNames) -> int:
        if not re.fullmatch(rf"{self.letter}[1-9][0-9]*", text) or int(text[1:]) > self.maximum:
            valid = f"{self.letter}1 to {self.letter}{self.maximum}"
            raise ModelNameError(f"expected {self.name} ({valid}), found {shorten(text)}")
        return int(text[1:])


@final
@dataclass(frozen=True)
class ComponentPart:
    """The name of a registered component: `fourier`. With a default it may be left out."""

    name: str
    default: str | None = None
    letter: ClassVar[str] = ""

    def parse(self, text: str, known: ComponentNames) -> str:
        if text not in known(self.name):  # `parse_name` adds the nearest, and what to install
            raise UnknownComponentError(f"unknown {self.name} {shorten(text)}", kind=self.name, component=text)
        return text


@final
@dataclass(frozen=True)
class ChoicePart:
    """One of a fixed set of words: `resnet18`."""

    name: str
    choices: tuple[str, ...]
    default: ClassVar[None] = None
    letter: ClassVar[str] = ""

    def parse(self, text: str, known: ComponentNames) -> str:
        if text not in self.choices:
            raise ModelNameError(f"unknown {self.name} {shorten(text)}{suggest(text, self.choices)}")
        return text


NamePart = NumberPart | ComponentPart | ChoicePart


@final
@dataclass(frozen=True)
class Grammar:
    """A sequence of parts; only trailing ones may have a default, which `format` leaves out."""

    parts: tuple[NamePart, ...]

    @property
    def lengths(self) -> range:
        """Numbers of parts that a remainder may have."""
        return range(sum(part.default is None for part in self.parts), len(self.parts) + 1)

    @property
    def names(self) -> Iterator[str]:
        """Every remainder if each part is one of a fixed set of words, else none."""
        choices = [part.choices for part in self.parts if isinstance(part, ChoicePart)]
        if len(choices) == len(self.parts):
            yield from map("_".join, product(*choices))

    @property
    def pattern(self) -> str:
        """The form of the remainder, for messages: `backbone_b…_m…`."""
        words = []
        for part in self.parts:
            word = f"{part.letter}…" if part.letter else part.name
            words.append(f"[_{word}]" if part.default is not None else f"_{word}")
        return "".join(words)[1:]

    def parse(self, texts: Sequence[str], known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        """Parse the texts into values by field name; raises `ModelNameError`."""
        values: list[tuple[str, Value]] = []
        for part, text in zip(self.parts, texts, strict=False):
            if not text:
                raise ModelNameError(f"empty {part.name} (nothing between two underscores); the form is {self.pattern}")
            values.append((part.name, part.parse(text, known)))
        if len(texts) > len(self.parts):
            raise ModelNameError(f"unexpected {shorten(texts[len(self.parts)])}; the form is {self.pattern}")
        left = self.parts[len(texts) :]
        if missing := [part.name for part in left if part.default is None]:
            raise ModelNameError(f"missing {', '.join(missing)}; the form is {self.pattern}")
        return tuple(values + [(part.name, part.default) for part in left if part.default is not None])

    def format(self, fields: Mapping[str, Value]) -> str:
        """Write these values as the canonical remainder."""
        texts = [f"{part.letter}{fields[part.name]}" for part in self.parts if fields[part.name] != part.default]
        return "_".join(texts)


def check_characters(name: str) -> None:
    """Raise `ModelNameError` if `name` is empty, too long, or has characters that no name has."""
    if not isinstance(name, str):
        raise ModelNameError(f"a model name is a string, not {type(name).__name__}")
    if not name:
        raise ModelNameError("empty model name; see list_models() or `zoo list`")
    if len(name) > MAX_NAME_LENGTH:
        raise ModelNameError(f"model name {shorten(name)} is longer than {MAX_NAME_LENGTH} characters")
    if bad := _FOREIGN.search(name):
        lower = name.lower()
        hint = f"; did you mean {lower!r}?" if name.isascii() and not _FOREIGN.search(lower) else ""
        problem = f"model name {shorten(name)} has {bad.group()!r} at position {bad.start()}"
        raise ModelNameError(f"{problem}; names are lower-case letters, digits and underscores{hint}")


def split_tag(name: str) -> tuple[str, str | None]:
    """Split `variant.tag` into (variant, tag or None); raises `ModelNameError` if the tag is malformed."""
    variant, dot, tag = name.partition(".")
    if dot and not TAG.fullmatch(tag):
        raise ModelNameError(f"{shorten(tag)} is not a tag, in {shorten(name)}; the form is name.tag")
    return variant, tag if dot else None


def options_in_words(options: Options) -> str:
    """Write options: `neuron waits=True, v_init=0.5; family timesteps=8`."""
    values = {kind: ", ".join(f"{key}={value}" for key, value in taken.items()) for kind, taken in options.items()}
    return "; ".join(f"{kind} {words}" for kind, words in values.items())


# References and sources -----------------------------------------------------------------------------------------------

REVISION = re.compile(r"[0-9a-f]{40}")  # a commit: branches and tags move
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_HEXADECIMAL = re.compile(r"[0-9a-f]{7,}", re.IGNORECASE)
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_PACKAGE = re.compile(r"([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*\.safetensors)")


@final
@dataclass(frozen=True)
class PackageFile:
    """A file of an installed package: `package:zoo/pretrained/name.safetensors`."""

    module: str
    path: str

    def __str__(self) -> str:
        return f"package:{self.module}/{self.path}"


@final
@dataclass(frozen=True)
class HubRepository:
    """Repository of the Hugging Face Hub at a commit, branch or tag; without one, at the newest of `main`."""

    repo_id: str
    revision: str | None = None

    @property
    def is_pinned(self) -> bool:
        """True at a commit, whose files never change."""
        return self.revision is not None and REVISION.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"hf-hub:{self.repo_id}" + (f"@{self.revision}" if self.revision else "")


@final
@dataclass(frozen=True)
class LocalFolder:
    """A folder with config.json and model.safetensors, as `zoo publish --out` and `zoo train` write it."""

    path: Path

    def __str__(self) -> str:
        return f"local-dir:{self.path}"


Source = PackageFile | HubRepository | LocalFolder
"""Place that holds one weight; `str` gives the text that `parse_source` reads."""


def check_repository(repo_id: str) -> str:
    """Return `repo_id` if it has the form of one; raises `ModelNameError`."""
    if not _REPOSITORY.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or repo_id.endswith((".", "-", ".git")):
        form = "org/name: letters, digits, '-', '_', '.', at most 96 each, without '--' or '..'"
        raise ModelNameError(f"{shorten(repo_id)} is not a repository of the Hub; the form is {form}")
    return repo_id


def check_revision(revision: str) -> str:
    """Return `revision` if it is a commit, or can be a branch or tag; raises `ModelNameError`."""
    if REVISION.fullmatch(revision):
        return revision
    # A cut or mistyped commit would be looked for as a branch, and not be found.
    if _HEXADECIMAL.fullmatch(revision) or not _BRANCH.fullmatch(revision) or ".." in revision or len(revision) > 200:
        problem = (
            f"revision {shorten(revision)} is neither a commit (40 hexadecimal digits, lower case) nor a branch or tag"
        )
        raise ModelNameError(f"{problem}; without '@…' the newest commit is taken and named")
    return revision


def parse_reference(text: str) -> HubRepository | LocalFolder | None:
    """Parse `hf-hub:org/name@revision` or `local-dir:path`, None for any other text; raises `ModelNameError`."""
    scheme, colon, place = text.partition(":")
    if not colon or scheme not in ("hf-hub", "local-dir"):
        return None
    if scheme == "hf-hub":
        repo_id, at, revision = place.partition("@")
        return HubRepository(check_repository(repo_id), check_revision(revision) if at else None)
    if not place or "\0" in place:
        raise ModelNameError("local-dir: needs the path of a folder, as in local-dir:runs/b8")
    return LocalFolder(Path(place))


def parse_source(text: str) -> PackageFile | HubRepository:
    """Parse the source of a record; raises `ModelNameError`: never a path of the file system, never a URL."""
    scheme, _, place = text.partition(":")
    if scheme == "hf-hub":
        reference = parse_reference(text)
        assert isinstance(reference, HubRepository)
        return reference
    match = _PACKAGE.fullmatch(place)
    if scheme != "package" or match is None or ".." in place:
        raise ModelNameError(f"source {shorten(text)} is neither package:module/file.safetensors nor hf-hub:org/name")
    return PackageFile(match[1], match[2])
