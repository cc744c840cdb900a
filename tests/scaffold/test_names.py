"""Names of a new plugin: what is one, what is taken, and what is suggested instead."""

from __future__ import annotations

import ast
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import InvalidName, canonicalize_name

import zoo
from zoo.errors import ComponentClashError, ComponentError, InputError, UnknownComponentError
from zoo.registry import Registry, default_registry, parse_name
from zoo.scaffold import KINDS, create, draft
from zoo.scaffold.names import MAX_COMPONENT, MAX_DISTRIBUTION

NAMES = st.from_regex(r"[Zz]{2}([A-Za-z0-9._-]{0,40}[A-Za-z0-9])?", fullmatch=True)
COMPONENTS = st.from_regex(r"zz[a-z0-9]{0,22}", fullmatch=True)
LONGEST = "z" * MAX_DISTRIBUTION


@settings(max_examples=40)
@given(NAMES, COMPONENTS, st.sampled_from(KINDS))
def test_every_valid_name_makes_a_valid_distribution(name: str, component: str, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = create(name, Path(folder), kind, component)
        assert [made] == list(Path(folder).iterdir())
        assert made.name == canonicalize_name(name, validate=True)
        _assert_valid(made, kind, component)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("component", ["grammar", "image", "base", "z" * MAX_COMPONENT])
def test_names_that_meet_those_inside_and_the_longest(kind: str, component: str, tmp_path: Path) -> None:
    _assert_valid(create(LONGEST, tmp_path, kind, component), kind, component)


def _assert_valid(made: Path, kind: str, component: str) -> None:
    """Its metadata is valid, and what its entry point names is a component whose model has a name."""
    project = tomllib.loads((made / "pyproject.toml").read_text(encoding="utf-8"))
    requirement, *others = map(Requirement, project["project"]["dependencies"])
    assert requirement.name == "has8-zoo"
    assert {other.name for other in others} == ({"torch", "spikingjelly"} if kind == "neuron" else {"torch"})
    assert requirement.specifier.contains(zoo.__version__)
    assert not requirement.specifier.contains("99")
    ((group, points),) = project["project"]["entry-points"].items()
    assert group == f"zoo.{'families' if kind == 'family' else kind + 's'}"
    ((word, target),) = points.items()
    assert word == component
    package, _, class_name = target.partition(":")
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [package]
    registry = Registry(replace(each) for each in default_registry().components())
    registry.register(kind, word, _executed(made / package / "__init__.py", package)[class_name])
    assert parse_name(draft(made.name, kind, component).model, registry)
    for file in made.rglob("*.py"):
        ast.parse(file.read_text(encoding="utf-8"))
    workflow = yaml.safe_load((made / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["steps"][1]["with"]["python-version"] == "${{ matrix.python-version }}"


def _executed(file: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": name}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), found)
    return found


def _is_valid(name: str) -> bool:
    try:
        normalised = canonicalize_name(name, validate=True)
    except InvalidName:
        return False
    return normalised[0].isalpha() and len(normalised) <= MAX_DISTRIBUTION


@settings(max_examples=200)
@given(st.text(max_size=80) | st.text("aZ09-_. /\\\n\0", max_size=12))
def test_what_is_no_name_writes_nothing(name: str) -> None:
    if _is_valid(name):
        name += "-"
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(InputError, match="not the name of a plugin; valid: letters"):
            create(name, Path(folder), component="sparkle")
        assert not list(Path(folder).iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "such as 'zoo'"),
        ("Zoo Sparkle!", "such as 'zoo-sparkle'"),
        ("../zoo-sparkle", "such as 'zoo-sparkle'"),
        ("zoo-sparkle\n", "such as 'zoo-sparkle'"),
        ("9lives", "such as 'zoo-9lives'"),
        ("z" * (MAX_DISTRIBUTION + 1), "up to 64"),
        (None, "not the name of a plugin"),
        (5, "not the name of a plugin"),
        ("class", "package 'class' would hide Python's own"),
        ("Random", "package 'random' would hide Python's own"),
        ("tests", "'tests' is not a name for a package"),
        ("has8.zoo", f"has8-zoo {zoo.__version__} is installed already"),
        ("zoo", "a package 'zoo' is installed already"),
        ("torch", "torch .* is installed already"),
    ],
)
def test_names_of_distributions_that_cannot_be(name: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        create(name, tmp_path, component="sparkle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("component", "error", "said"),
    [
        ("", ComponentError, "'' is not a component name; choose another; valid: lower-case"),
        ("my_neuron", ComponentError, "such as 'myneuron'"),
        ("Sparkle", ComponentError, "such as 'sparkle'"),
        ("8bit", ComponentError, "such as 'bit'"),
        ("z" * (MAX_COMPONENT + 1), ComponentError, "up to 24"),
        ("sparkle\n", ComponentError, "such as 'sparkle'"),
        ("lambda", ComponentError, "'lambda' is a word of Python's own; choose another, such as 'mylambda'"),
        ("random", ComponentError, "'random' is a word of Python's own"),
        ("lif", ComponentClashError, "'lif' is the neuron of has8-zoo .* already; choose another, such as 'mylif'"),
        ("ste", ComponentClashError, "'ste' is the encoder of has8-zoo"),
        ("has8", ComponentClashError, "'has8' is the family of has8-zoo"),
    ],
)
def test_names_of_components_that_cannot_be(
    component: str, error: type[ComponentError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        create("zoo-sparkle", tmp_path, component=component)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("zoo-sparkle", "sparkle"),
        ("Zoo_Sparkle", "sparkle"),
        ("has8.zoo.my-neuron", "myneuron"),
        ("sparkle", "sparkle"),
        ("sparkle-zoo", "sparklezoo"),
    ],
)
def test_the_component_is_named_after_its_distribution(name: str, component: str) -> None:
    assert draft(name).component == component


@pytest.mark.parametrize("name", ["zoo-9lives", "zoo-lif", "zoo-random", "zoo-" + "z" * 30])
def test_where_that_is_no_name_the_option_is_named(name: str) -> None:
    with pytest.raises(ComponentError, match="name the component with --component"):
        draft(name)
    assert draft(name, component="sparkle").distribution == name


def test_names_that_this_registry_holds_are_taken(registry: Registry) -> None:
    registry.register("encoder", "sparkle", registry.load("encoder", "ste"))
    with pytest.raises(ComponentClashError, match="'sparkle' is the encoder of"):
        draft("zoo-sparkle", registry=registry)
    assert draft("zoo-sparkle").component == "sparkle"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("neurons", "made; did you mean 'neuron'"),
        ("catalog", "made; valid: backbone, "),
        ("converter", "made; valid: backbone, "),
    ],
)
def test_unknown_kinds(kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownComponentError, match=said):
        create("zoo-sparkle", tmp_path, kind)
    assert not list(tmp_path.iterdir())
