"""The registry: lazy, clash-safe, and never broken by a broken component."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo_kit.installed import WORKS, put, run_python

import zoo
from zoo import contracts
from zoo.encoders.bitplanes import BitPlaneEncoder, StraightThroughEncoder, straight_through_planes
from zoo.errors import ComponentError, CompositionError, MissingPluginError, UnknownComponentError
from zoo.families.sew import SewFamily
from zoo.registry.components import Component, Registry, State, check_providers, default_registry, parse_name, scan

TINY = "has8_resnet_b1_m1_d1_{}_bpd"


def test_every_built_in_is_registered_loads_and_is_described() -> None:
    for component in default_registry().components():
        if component.distribution == "has8-zoo":
            cls = component.load()
            assert issubclass(cls, getattr(contracts, component.kind.title().replace("_", "")))
            assert component.summary == cls.__doc__.splitlines()[0]
    with pytest.raises(UnknownComponentError, match=r"'encoders'.*'encoder'"):
        zoo.list_components("encoders")


# Broken components ----------------------------------------------------------------------------------------------------


def _component(name: str, distribution: str, found: Any) -> Component:
    return Component("encoder", name, distribution, "1.0", f"{distribution}:Thing", lambda: found)


def _raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", [ImportError("no such thing"), SystemExit(3), SyntaxError("x")])
def test_a_plugin_that_fails_at_import_is_shown_and_breaks_no_other(registry: Registry, error: BaseException) -> None:
    bad = Component("encoder", "bad", "zoo-bad", "1.0", "bad:Thing", _raising(error))
    registry = Registry([*registry.components(), bad])
    zoo.create_model(TINY.format("ste"), num_classes=2, registry=registry)
    for _ in range(2):  # the second use says the same
        with pytest.raises(ComponentError, match=rf"zoo-bad 1.0 \(bad:Thing\).*{type(error).__name__}") as caught:
            registry.load("encoder", "bad")
        assert caught.value.__cause__ is error
    assert bad.state is State.BROKEN


def _encoder(*left_out: str, **attributes: Any) -> type:
    content = {"api_version": 1, "code": "x", "differentiable": True, "timesteps": property(lambda self: 1)}
    content |= {"forward": lambda self, x: x[None]} | attributes
    return type("Thing", (contracts.Encoder,), {k: v for k, v in content.items() if k not in left_out})


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "zoo.contracts.Encoder"),
        (torch.nn.Identity, "zoo.contracts.Encoder"),
        (StraightThroughEncoder(), "zoo.contracts.Encoder"),
        (_encoder("timesteps"), "timesteps"),
        (_encoder("code"), "code"),
        (_encoder(api_version=2), "api_version 2"),
        (_encoder("api_version"), "api_version"),
    ],
)
def test_a_broken_contract_is_named(found: Any, told: str, registry: Registry) -> None:
    component = _component("odd", "zoo-odd", found)
    with pytest.raises(ComponentError, match=told):
        Registry([component]).load("encoder", "odd")
    assert component.state is State.BROKEN
    with pytest.raises(ComponentError):
        registry.register("encoder", "odd", found)
    assert "odd" not in registry.plain_names("encoder")


def test_what_a_plugin_prints_at_import_is_no_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    def imported() -> Any:
        print("hello from the import")
        return StraightThroughEncoder

    assert Component("encoder", "prints", "zoo-prints", "1.0", "prints:Thing", imported).works
    assert capsys.readouterr() == ("", "hello from the import\n")


def test_threads_load_a_component_together() -> None:
    together = threading.Barrier(8)

    def imported() -> Any:
        together.wait(timeout=20)
        return StraightThroughEncoder

    component = Component("encoder", "slow", "zoo-slow", "1.0", "slow:Thing", imported)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: component.load(), range(8))) == [StraightThroughEncoder] * 8
    assert (component.state, component.error) == (State.LOADED, None)


class Drops(contracts.Neuron):
    """A neuron that loses the last timestep."""

    api_version = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:-1] > 1).to(x.dtype)


def test_a_neuron_that_drops_a_timestep_is_named(registry: Registry) -> None:
    registry.register("neuron", "drops", Drops)
    for name in ("sew_resnet_b1_m1_d1_direct_drops", "has8_vgg_b1_m1_d1_ste_rate_drops"):
        with pytest.raises(CompositionError, match="'drops'"):
            zoo.create_model(name, num_classes=2, registry=registry)


# Names that are claimed, taken, malformed -----------------------------------------------------------------------------


def test_two_distributions_claiming_one_name() -> None:
    one, two = (_component("same", name, StraightThroughEncoder) for name in ("zoo-one", "zoo-two"))
    registry = Registry([one, two])
    with pytest.raises(ComponentError, match=r"zoo-one 1\.0.*zoo-two 1\.0.*'zoo-one:same' or 'zoo-two:same'"):
        registry.load("encoder", "same")
    assert registry.load("encoder", "zoo-two:same") is StraightThroughEncoder
    assert registry.status(one)[0] is registry.status(two)[0] is State.CONFLICT


@pytest.mark.parametrize("name", ["with_underscore", "Upper", "9lives", "has-hyphen", "", "a b", "../x"])
def test_a_malformed_name_is_visible_and_unusable(registry: Registry, name: str) -> None:
    point = importlib.metadata.EntryPoint(name, "zoo.encoders.bitplanes:StraightThroughEncoder", "zoo.encoders")
    (component,) = scan([point])
    assert component.state is State.BROKEN
    assert Registry([component]).plain_names("encoder") == []
    with pytest.raises(ComponentError):
        registry.register("encoder", name, StraightThroughEncoder)


def test_a_point_that_stands_twice_is_one_component() -> None:
    points = list(importlib.metadata.distribution("has8-zoo").entry_points.select(group="zoo.decoders"))
    assert list(scan(points * 2)) == list(scan(points))


def test_register_works_in_this_registry_alone_and_never_overwrites(registry: Registry) -> None:
    mine = type("Mine", (BitPlaneEncoder,), {"forward": lambda self, x: straight_through_planes(x), "api_version": 1})
    for _ in range(2):  # the same cell run again
        registry.register("encoder", "mine", mine)
    model = zoo.create_model(TINY.format("mine"), num_classes=2, registry=registry)
    assert model(torch.rand(1, 3, 16, 16)).shape == (1, 2)
    with pytest.raises(UnknownComponentError):
        zoo.create_model(TINY.format("mine"))
    for name in ("ste", "mine"):
        with pytest.raises(ComponentError, match=f"'{name}'"):
            registry.register("encoder", name, default_registry().load("encoder", "fourier"))


# Families -------------------------------------------------------------------------------------------------------------


class _Clumsy(SewFamily):  # type: ignore[misc] # final
    def parse(self, remainder: str, known: Any) -> Any:  # type: ignore[misc] # final
        first, second = remainder.split("-")
        return ((first, second),)


@pytest.mark.parametrize(
    ("importer", "told"), [(_raising(ImportError("no")), "ImportError"), (lambda: _Clumsy, "ValueError")]
)
def test_a_broken_family_hides_its_own_models_alone(importer: Callable[[], Any], told: str) -> None:
    broken = Component("family", "sew", "zoo-bad", "1.0", "bad:Sew", importer)
    registry = Registry([*(replace(c) for c in default_registry().components() if c.name != "sew"), broken])
    assert "has8_resnet_b8_m2_d4_ste_bpd" in zoo.list_models(encoder="ste", registry=registry)
    assert zoo.list_models(family="sew", registry=registry) == []
    assert "sew_resnet18_rate" in zoo.list_models(registry=registry)
    with pytest.raises(ComponentError, match=f"(?s)family 'sew' of zoo-bad 1.0.*{told}"):
        parse_name("sew_resnet18_rate", registry)


@pytest.mark.slow
def test_a_model_with_weights_takes_few_modules() -> None:
    code = """
import sys, zoo
zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd.cifar10")
print(len([name for name in sys.modules if name.partition(".")[0] == "zoo"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 42


# Installed distributions, in processes of their own -------------------------------------------------------------------


def test_an_installed_plugin_is_found_but_not_imported_until_used(tmp_path: Path) -> None:
    put(tmp_path, "zoo-third", "[zoo.encoders]\nbright = zoo_third:Thing\n", {"zoo_third.py": WORKS.format(power=1)})
    code = """
import sys, zoo
assert "bright" in zoo.list_components("encoder")
zoo.parse_name("has8_resnet_b1_m1_d1_bright_bpd")
from zoo.registry.components import default_registry
assert default_registry().find("encoder", "bright").summary == "Planes of a power."
assert "zoo_third" not in sys.modules and "torch" not in sys.modules
zoo.create_model("has8_resnet_b1_m1_d1_bright_bpd", num_classes=2)
assert "zoo_third" in sys.modules
print(zoo.model_info("has8_resnet_b1_m1_d1_bright_bpd")["components"][2]["distribution"])
"""
    done = run_python(code, tmp_path)
    assert done.stdout == "zoo-third\n", done.stderr


def test_a_component_of_this_process_replaces_no_plugin(registry: Registry) -> None:
    registry.register("encoder", "bright", StraightThroughEncoder)
    spec = parse_name(TINY.format("bright"), registry)
    check_providers(spec, ["has8-zoo"], "saved", registry)
    with pytest.raises(MissingPluginError, match="zoo-one"):
        check_providers(spec, ["has8-zoo", "zoo-one"], "saved", registry)
