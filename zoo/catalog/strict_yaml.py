"""YAML of a file that somebody else wrote, read within limits and with one meaning only.

What readers of YAML understand differently is refused with its line, not guessed: a key that stands twice, numbers to
the base 60, dates, tags. What costs more than a file of its kind can need is refused before it is built.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, NoReturn, final

import yaml

from zoo.errors import CatalogError, shorten

MAX_BYTES = 8 * 2**20
"""Of a file; 20 weights with ImageNet-22k's labels each take less."""

MAX_NODES = 200_000
"""Keys, values, lists and mappings, those behind an alias counted wherever it stands."""

MAX_DEPTH = 32
"""Lists and mappings inside each other; a catalog needs 6."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = {
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})"),
    "float": re.compile(r"[-+]?(?:[0-9]{1,30}\.[0-9]{0,30}(?:[eE][-+]?[0-9]{1,2})?|\.inf)|\.nan", re.IGNORECASE),
    "bool": re.compile(r"true|false", re.IGNORECASE),
    "null": re.compile(r"(?:~|null)?", re.IGNORECASE),
}
_TAG = "tag:yaml.org,2002:"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one where PyYAML was built with libyaml


def parse_yaml(data: bytes) -> Any:
    """What the one document in `data` says: strings, integers, floats, booleans, None, lists and mappings by string.

    Raises:
        CatalogError: it is not UTF-8 or not YAML, goes over a limit, or means different things to different readers.
            The message begins with "is not YAML" and has the line.
    """
    if len(data) > MAX_BYTES:
        raise CatalogError(f"is not YAML that is read here: it is larger than {MAX_BYTES:,} bytes; write less into it")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CatalogError(f"is not YAML in UTF-8: line {line}: {error.reason}; save it as UTF-8") from error
    try:
        _measure(text)
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise CatalogError(f"is not YAML: {place}{_short(error.problem or error.context)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise CatalogError(f"is not YAML: {_short(str(error))}") from error
    except RecursionError as error:  # one `<<` behind the other, bottom up
        raise CatalogError("is not YAML that is read here: too many `<<` build on each other; write it out") from error


def _short(text: str | None) -> str:
    """What PyYAML says, which may quote as much of the file as it likes."""
    line = " ".join((text or "it cannot be read").split())
    return line if len(line) <= 200 else f"{line[:200]}…"


def _refuse(mark: Any, problem: str) -> NoReturn:  # PyYAML has a mark for each of its two parsers
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _measure(text: str) -> None:
    """Walk over the file without building anything; raise where it goes over a limit."""
    size = _Size()
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            size.repeat(event)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            size.open(event)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            size.close()
        elif isinstance(event, yaml.ScalarEvent):
            size.scalar(event)


@final
class _Size:
    """How many nodes there are so far, were every alias written out."""

    def __init__(self) -> None:
        self.nodes = 0
        self._opened: list[tuple[str | None, int]] = []  # anchor, and the number of nodes before it
        self._behind: dict[str, int] = {}  # anchor → the nodes that it stands for

    def _add(self, count: int, event: yaml.NodeEvent) -> None:
        self.nodes += count
        if self.nodes > MAX_NODES:
            _refuse(event.start_mark, f"there are more than {MAX_NODES:,} entries, aliases counted; write fewer")

    def open(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._opened) >= MAX_DEPTH:
            _refuse(event.start_mark, f"lists and mappings stand inside each other more than {MAX_DEPTH} deep")
        self._opened.append((event.anchor, self.nodes))
        self._behind.pop(event.anchor or "", None)
        self._add(1, event)

    def close(self) -> None:
        anchor, before = self._opened.pop()
        if anchor is not None:
            self._behind[anchor] = self.nodes - before

    def scalar(self, event: yaml.ScalarEvent) -> None:
        if _SURROGATE.search(event.value):  # PyYAML's parser in C refuses it itself
            _refuse(event.start_mark, "a text holds half of a surrogate pair, which no file can; write the character")
        if event.anchor is not None:
            self._behind[event.anchor] = 1
        self._add(1, event)

    def repeat(self, event: yaml.AliasEvent) -> None:
        anchor = str(event.anchor)
        count = self._behind.get(anchor)
        if count is None:
            problem = f"the alias {shorten(anchor)} stands for nothing that ends above it; write the value out"
            _refuse(event.start_mark, problem)
        self._add(count, event)


@final
class _StrictLoader(_Loader):
    """Builds text, numbers, lists and mappings, and refuses every other type."""

    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flat: set[int] = set()  # ids of mappings, which live as long as this loader reads

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Write out `<<`, which brings the keys of one mapping, below those that stand here."""
        if id(node) in self._flat:
            return
        self._flat.add(id(node))
        self._check_keys(node)
        brought: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        written: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag != _TAG + "merge":
                written[key.value] = key, value
            elif isinstance(value, yaml.MappingNode):
                self.flatten_mapping(value)
                brought = {key.value: (key, value) for key, value in value.value}
            else:
                _refuse(key.start_mark, "`<<` takes the alias of one mapping; write the rest out")
        node.value = list((brought | written).values())

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TAG + "str", _TAG + "merge"):
                _refuse(key.start_mark, "a key is not text; write it in quotes if it is meant")
            if key.value in seen:
                _refuse(key.start_mark, f"the key {shorten(key.value)} stands twice; keep one of them")
            seen.add(key.value)

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[str, Any]:
        """Keys are text, each once."""
        if not isinstance(node, yaml.MappingNode):
            self.refuse(node)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_plain(self, node: yaml.Node) -> bool | float | int | None:
        """A number, true, false or null, in the one notation that every reader of YAML takes for the same."""
        kind = node.tag.removeprefix(_TAG)
        if not isinstance(node, yaml.ScalarNode) or not _PLAIN[kind].fullmatch(node.value):
            self.refuse(node)
        if kind == "null":
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        if kind == "int":
            return int(node.value)
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def refuse(self, node: yaml.Node) -> NoReturn:
        """Raise for a type that a catalog does not hold."""
        written = shorten(node.value) if isinstance(node, yaml.ScalarNode) else "this"
        kind = shorten(node.tag.removeprefix(_TAG))
        problem = f"{written} is of the type {kind} to YAML; write text in quotes, numbers as 12 or 0.5, without tags"
        _refuse(node.start_mark, problem)


for _kind in ("str", "seq", "map"):
    _StrictLoader.add_constructor(_TAG + _kind, _Loader.yaml_constructors[_TAG + _kind])
for _kind in _PLAIN:
    _StrictLoader.add_constructor(_TAG + _kind, _StrictLoader.construct_plain)
_StrictLoader.add_constructor(None, _StrictLoader.refuse)
