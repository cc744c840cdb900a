"""Known plugins: the table is what the plugins of this repository declare, and errors name their install lines."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import zoo
from zoo.catalog.files import Catalog, read_file
from zoo.errors import MissingPluginError, ModelNameError, UnknownComponentError
from zoo.registry.components import GROUPS, default_registry, parse_name
from zoo.registry.installing import install_plugin, is_installed, known_plugins, missing_weight, unknown_component

ROOT = Path(__file__).parent.parent
CODED = "has8_resnet_b2_m1_d1"
WEIGHT = "has8_resnet_b32_m2_d4_ste_bpd.cifar10"


def declared(project: Path) -> tuple[str, set[str]]:
    """Name of a plugin, and what its entry points and catalogs bring."""
    read = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    groups = read.get("entry-points", {})
    brings = {f"{kind} {name}" for kind, group in GROUPS.items() if kind != "catalog" for name in groups.get(group, ())}
    for package in groups.get(GROUPS["catalog"], {}).values():
        brings |= {record.name for record in read_file(project.parent / package / "registry.yaml").weights}
    return read["name"], brings


def test_the_table_is_what_the_plugins_declare() -> None:
    brings = dict(map(declared, ROOT.glob("plugins/*/pyproject.toml")))
    assert {name: set(listed) for name, listed in known_plugins().items()} == {k: v for k, v in brings.items() if v}


def _missing(distribution: str) -> None:
    if is_installed(distribution):
        pytest.skip(f"{distribution} is installed")


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        (f"{CODED}_ste_bpdref", "zoo-has8-reference"),
        (f"{CODED}_zoo-has8-reference:tanhref_bpd", "zoo-has8-reference"),
        (f"{CODED}_ste_bpd_lifref", "zoo-has8-reference"),
        ("sew_resnetsmall_b2_m1_d1_direct_lifref", "zoo-has8-reference"),
        ("sj_spiking_resnet18", "zoo-spikingjelly"),
    ],
)
def test_a_part_of_a_known_plugin_is_an_error_with_its_install_line(name: str, distribution: str) -> None:
    _missing(distribution)
    with pytest.raises(MissingPluginError, match=f"pip install /.*/plugins/{distribution}"):
        zoo.create_model(name)


def test_a_known_converter_is_an_error_with_its_install_line() -> None:
    _missing("zoo-has8-reference")
    with pytest.raises(MissingPluginError, match="zoo-has8-reference"):
        default_registry().load("converter", "has8")


def test_a_known_command_is_an_error_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.registry.installing.is_installed", lambda distribution: False)
    error = unknown_component("command", "convert", ["list"])
    assert isinstance(error, MissingPluginError)
    assert install_plugin("zoo-convert") in str(error)


def test_an_install_line_names_what_the_plugin_and_these_need() -> None:
    places = install_plugin("zoo-events").split()[2:]
    assert [Path(place).name for place in places] == ["zoo-convert", "zoo-events"]


@pytest.mark.parametrize("name", [WEIGHT, WEIGHT.partition(".")[0]])
def test_a_known_weight_is_an_error_with_its_install_line(name: str) -> None:
    _missing("zoo-weights-cifar10")
    with pytest.raises(ModelNameError) as caught:
        zoo.create_model(name, pretrained=True)
    assert WEIGHT in str(caught.value)
    assert install_plugin("zoo-weights-cifar10") in str(caught.value)
    with pytest.raises(ModelNameError, match="pretrained=False"):
        Catalog([]).weight(parse_name(f"{name.partition('.')[0]}.imagenet"))


def test_an_installed_distribution_is_not_told_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, name in (("neuron", "tanhref"), ("encoder", "tanhraf"), ("encoder", "zoo-other:tanhref")):
        assert type(unknown_component(kind, name, ["a"])) is UnknownComponentError
    monkeypatch.setattr("zoo.registry.installing.known_plugins", lambda: {"has8-zoo": ["encoder tanhref", "has8_x.y"]})
    assert type(unknown_component("encoder", "tanhref", [])) is UnknownComponentError
    assert missing_weight("has8_x", "y") is None
