"""Known plugins: the table is what the plugins of this repository declare, and errors name their install lines."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import zoo
from zoo.catalog import Catalog, read_file
from zoo.errors import (
    KNOWN_PLUGINS,
    KnownPlugin,
    MissingPluginError,
    ModelNameError,
    UnknownComponentError,
    install_plugin,
    is_installed,
    missing_weight,
    unknown_component,
)
from zoo.registry import EXTRAS, GROUPS, parse_name
from zoo.saving import convert

ROOT = Path(__file__).parent.parent
PROJECTS = sorted((ROOT / "plugins").glob("*/pyproject.toml"))
CODED = "has8_resnet_b2_m1_d1"


def _declared(project: Path) -> tuple[str, KnownPlugin]:
    """The name of a plugin, and what its entry points and catalogs say that it brings."""
    read = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    groups = read.get("entry-points", {})
    components = {kind: tuple(sorted(groups[group])) for kind, group in GROUPS.items() if group in groups}
    packages = components.pop("catalog", ()) and groups[GROUPS["catalog"]].values()
    files = [read_file(project.parent / package / "registry.yaml") for package in packages]
    return read["name"], KnownPlugin(components, tuple(record.name for file in files for record in file.weights))


@pytest.mark.skipif(not PROJECTS, reason="only in the repository")
def test_the_table_is_what_the_plugins_declare() -> None:
    declared = {name: brings for name, brings in map(_declared, PROJECTS) if brings != KnownPlugin()}
    if not any(project.parent.name == "zoo-weights-cifar10" for project in PROJECTS):  # not in an sdist
        declared["zoo-weights-cifar10"] = KNOWN_PLUGINS["zoo-weights-cifar10"]
    assert dict(KNOWN_PLUGINS) == declared


def test_what_needs_an_extra_names_one_that_brings_its_module() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for module, extra in EXTRAS.values():
        assert any(requirement.startswith(module) for requirement in extras[extra])


def _missing(distribution: str) -> None:
    if is_installed(distribution):
        pytest.skip(f"{distribution} is installed")


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        (f"{CODED}_gray_gray", "zoo-gray"),
        (f"{CODED}_ste_gray", "zoo-gray"),
        (f"{CODED}_zoo-gray:gray_bpd", "zoo-gray"),
        (f"{CODED}_ste_bpd_lifref", "zoo-has8-reference"),
        ("has8_vggref_b2_m1_d1_ste_bpd", "zoo-has8-reference"),
        ("sj_spiking_resnet18", "zoo-spikingjelly"),
    ],
)
def test_a_part_of_a_known_plugin_is_an_error_with_its_install_line(name: str, distribution: str) -> None:
    _missing(distribution)
    told = rf"in {distribution}, which is not installed; install it with: pip install \./plugins/{distribution} in /"
    for use in (zoo.create_model, zoo.model_info):
        with pytest.raises(MissingPluginError, match=told):
            use(name)


def test_a_known_converter_is_an_error_with_its_install_line(tmp_path: Path) -> None:
    _missing("zoo-has8-reference")
    with pytest.raises(MissingPluginError, match="unknown converter 'has8': it is in zoo-has8-reference"):
        convert("has8", tmp_path / "best.pth", tmp_path / "out")


@pytest.mark.parametrize("weight", KNOWN_PLUGINS["zoo-weights-cifar10"].weights)
def test_a_known_weight_is_an_error_with_its_install_line(weight: str) -> None:
    _missing("zoo-weights-cifar10")
    variant = weight.partition(".")[0]
    first = next(known for known in KNOWN_PLUGINS["zoo-weights-cifar10"].weights if known.startswith(f"{variant}."))
    with pytest.raises(ModelNameError) as by_tag:
        zoo.create_model(weight)
    with pytest.raises(ModelNameError) as by_default:
        zoo.create_model(variant, pretrained=True)
    for caught, named in ((by_tag, weight), (by_default, first)):
        told = f"{named} is in zoo-weights-cifar10, which is not installed; install it with: "
        assert f"{told}{install_plugin('zoo-weights-cifar10')}; pretrained=False" in str(caught.value)
    with pytest.raises(ModelNameError, match="has no pretrained weights; pretrained=False"):
        Catalog([]).weight(parse_name(f"{variant}.imagenet"))


def test_an_installed_distribution_is_not_told_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = KnownPlugin({"encoder": ("gray",)}, ("has8_x.y",))
    monkeypatch.setattr("zoo.errors.KNOWN_PLUGINS", {"has8-zoo": own})
    assert type(unknown_component("encoder", "gray", "")) is UnknownComponentError
    assert missing_weight("has8_x", "y") is None


@pytest.mark.parametrize(("kind", "name"), [("neuron", "gray"), ("encoder", "grey"), ("encoder", "zoo-other:gray")])
def test_other_kinds_names_and_owners_are_unknown(kind: str, name: str) -> None:
    assert type(unknown_component(kind, name, "; valid: a")) is UnknownComponentError
