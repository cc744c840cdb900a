"""The registry: lazy, clash-safe, and never broken by a broken component."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo import contracts
from zoo.composition import parse_name
from zoo.encoders.bitplanes import StraightThroughEncoder
from zoo.errors import (
    BrokenComponentError,
    ComponentClashError,
    ComponentError,
    IncompatibleComponentError,
    UnknownComponentError,
)
from zoo.factory import build_model
from zoo.families.sew import SewFamily
from zoo.registry.registry import GROUPS, Component, Registry, State, default_registry, scan

EXPECTED = {
    "family": ["ann", "has8", "sew", "snn", "timm"],
    "backbone": ["resnet", "resnet101", "resnet152", "resnet34", "resnet50", "resnetfull", "resnetsmall", "vgg"],
    "encoder": ["fourier", "fourierraw", "phase", "rate", "sigmoid", "sigmoidraw", "ste", "tanh", "tanhraw", "ttfs"],
    "decoder": ["bpd", "rate"],
    "neuron": ["if", "lif", "plif"],
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_all_built_ins_register_through_entry_points(kind: str) -> None:
    ours = importlib.metadata.distribution("has8-zoo").entry_points.select(group=GROUPS[kind])
    assert sorted(point.name for point in ours) == EXPECTED[kind]
    assert set(EXPECTED[kind]) <= set(zoo.list_components(kind))


def test_every_built_in_loads() -> None:
    for component in default_registry().components():
        if component.distribution == "has8-zoo":
            assert issubclass(component.load(), getattr(contracts, component.kind.capitalize()))
            assert component.state is State.LOADED


def test_unknown_kind() -> None:
    with pytest.raises(UnknownComponentError, match="unknown component kind 'encoders'; did you mean 'encoder'"):
        zoo.list_components("encoders")


def _component(name: str, distribution: str, found: Any) -> Component:
    return Component("encoder", name, distribution, "1.0", f"{distribution}:Thing", _import=lambda: found)


def _raise(error: BaseException) -> Any:
    raise error


def _broken(error: BaseException) -> Component:
    return Component("encoder", "bad", "zoo-bad", "1.0", "bad:Thing", _import=lambda: _raise(error))


@pytest.mark.parametrize("error", [ImportError("no such thing"), SystemExit(3), RuntimeError("boom"), SyntaxError("x")])
def test_a_plugin_that_fails_at_import_is_shown_and_harms_nobody(registry: Registry, error: BaseException) -> None:
    bad = _broken(error)
    registry = Registry([*registry.components(), bad])
    assert "bad" in registry.plain_names("encoder")
    build_model(parse_name("has8_resnet_b1_m1_d1_ste_bpd", registry), 2, registry=registry)
    for _ in range(2):  # the second use says the same
        with pytest.raises(BrokenComponentError, match=r"encoder 'bad' of zoo-bad 1.0 \(bad:Thing\) cannot be used"):
            registry.load("encoder", "bad")
    assert bad.state is State.BROKEN
    assert bad.error is not None
    assert type(error).__name__ in bad.error
    assert "Traceback" in bad.error


@pytest.mark.parametrize("found", [None, 5, object, torch.nn.Identity, StraightThroughEncoder()])
def test_what_is_no_such_component_is_broken(found: Any) -> None:
    registry = Registry([_component("odd", "zoo-odd", found)])
    with pytest.raises(BrokenComponentError, match=r"is not a subclass of zoo.contracts.Encoder"):
        registry.load("encoder", "odd")


class _Undecided:
    """An API version that cannot be compared, as an array cannot."""

    def __ne__(self, other: object) -> bool:
        raise ValueError("truth value of an array")


def test_a_class_that_cannot_even_be_checked_is_broken() -> None:
    odd = type("Odd", (StraightThroughEncoder,), {"api_version": _Undecided()})
    with pytest.raises(BrokenComponentError, match="truth value of an array"):
        Registry([_component("odd", "zoo-odd", odd)]).load("encoder", "odd")


def test_another_api_version_is_shown_as_it_stands() -> None:
    odd = type("Odd", (StraightThroughEncoder,), {"api_version": "1"})
    with pytest.raises(IncompatibleComponentError, match=r"asks for API version '1', this zoo offers 1"):
        Registry([_component("odd", "zoo-odd", odd)]).load("encoder", "odd")


def test_threads_load_a_component_together(capfd: pytest.CaptureFixture[str]) -> None:
    together = threading.Barrier(8)

    def imported() -> Any:
        together.wait(timeout=20)
        print("hello")
        return StraightThroughEncoder

    component = Component("encoder", "slow", "zoo-slow", "1.0", "slow:Thing", _import=imported)
    stdout = sys.stdout
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: component.load(), range(8)))
    assert found == [StraightThroughEncoder] * 8
    assert (component.state, component.error) == (State.LOADED, None)
    assert sys.stdout is stdout
    said = capfd.readouterr()
    assert (said.out, said.err.count("hello")) == ("", 8)


def test_a_module_that_uses_its_own_component_at_import_has_it_once() -> None:
    registry = Registry()
    classes = iter([type("First", (StraightThroughEncoder,), {}), type("Second", (StraightThroughEncoder,), {})])

    def imported() -> Any:
        mine = next(classes)
        if mine.__name__ == "First":
            registry.load("encoder", "own")
        return mine

    component = Component("encoder", "own", "zoo-own", "1.0", "own:Thing", _import=imported)
    registry = Registry([component])
    assert registry.load("encoder", "own").__name__ == "Second"
    assert registry.load("encoder", "own").__name__ == "Second"
    assert (component.state, component.error) == (State.LOADED, None)


def test_an_abstract_class_says_what_it_lacks() -> None:
    class Half(contracts.Encoder):
        api_version = 1

        def forward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(BrokenComponentError, match="leaves abstract: timesteps"):
        Registry([_component("half", "zoo-half", Half)]).load("encoder", "half")


@pytest.mark.parametrize(("version", "said"), [(2, "asks for API version 2"), (0, "asks for API version 0")])
def test_another_api_version_is_incompatible(version: int, said: str) -> None:
    class Newer(StraightThroughEncoder.__base__):  # type: ignore[name-defined]
        api_version = version

        def forward(self, x: Tensor) -> Tensor:
            return x

    registry = Registry([_component("newer", "zoo-newer", Newer)])
    with pytest.raises(IncompatibleComponentError, match=f"{said}, this zoo offers 1"):
        registry.load("encoder", "newer")
    assert registry.components("encoder")[0].state is State.INCOMPATIBLE


def test_no_api_version_is_incompatible() -> None:
    class Silent(contracts.Encoder):
        pass

    with pytest.raises(IncompatibleComponentError, match="declares no api_version"):
        Registry([_component("silent", "zoo-silent", Silent)]).load("encoder", "silent")


def test_two_distributions_claiming_one_name() -> None:
    one = _component("same", "zoo-one", StraightThroughEncoder)
    two = _component("same", "zoo-two", StraightThroughEncoder)
    registry = Registry([one, two])
    assert registry.status(one)[0] is registry.status(two)[0] is State.CONFLICT
    with pytest.raises(ComponentClashError) as caught:
        registry.load("encoder", "same")
    assert "zoo-one 1.0" in str(caught.value)
    assert "zoo-two 1.0" in str(caught.value)
    assert "'zoo-one:same' or 'zoo-two:same'" in str(caught.value)
    assert registry.load("encoder", "zoo-two:same") is StraightThroughEncoder
    assert registry.status(two)[0] is State.CONFLICT
    with pytest.raises(ComponentClashError):
        registry.load("encoder", "same")


def test_a_plugin_that_shadows_a_built_in_clashes_but_leaves_the_rest(registry: Registry) -> None:
    registry = Registry([*registry.components(), _component("ste", "zoo-shadow", StraightThroughEncoder)])
    with pytest.raises(ComponentClashError, match="has8-zoo"):
        build_model(parse_name("has8_resnet_b1_m1_d1_ste_bpd", registry), 2, registry=registry)
    build_model(parse_name("has8_resnet_b1_m1_d1_fourier_bpd", registry), 2, registry=registry)
    build_model(parse_name("has8_resnet_b1_m1_d1_has8-zoo:ste_bpd", registry), 2, registry=registry)


def test_the_same_record_seen_twice_is_no_clash() -> None:
    points = list(importlib.metadata.distribution("has8-zoo").entry_points.select(group="zoo.decoders"))
    registry = Registry(scan(points + points))
    assert len(registry.components("decoder")) == len(points)
    registry.load("decoder", "bpd")


@pytest.mark.parametrize("name", ["with_underscore", "Upper", "9lives", "has-hyphen"])
def test_a_malformed_entry_point_name_is_visible_and_broken(name: str) -> None:
    point = importlib.metadata.EntryPoint(name, "zoo.encoders.bitplanes:StraightThroughEncoder", "zoo.encoders")
    registry = Registry(scan([point]))
    (component,) = registry.components("encoder")
    assert component.state is State.BROKEN
    assert "is not a component name" in str(component.error)
    assert registry.plain_names("encoder") == []


def test_register_works_in_a_model(registry: Registry) -> None:
    class Mine(StraightThroughEncoder.__base__):  # type: ignore[name-defined]
        api_version = 1

        def forward(self, x: Tensor) -> Tensor:
            return StraightThroughEncoder()(x)

    registry.register("encoder", "mine", Mine)
    model = zoo.create_model("has8_resnet_b1_m1_d1_mine_bpd", num_classes=2, registry=registry)
    assert model(torch.rand(1, 3, 16, 16)).shape == (1, 2)
    with pytest.raises(UnknownComponentError):
        zoo.create_model("has8_resnet_b1_m1_d1_mine_bpd")


def test_register_never_overwrites(registry: Registry) -> None:
    with pytest.raises(ComponentClashError, match=r"encoder 'ste' is taken by has8-zoo"):
        registry.register("encoder", "ste", StraightThroughEncoder)
    registry.register("encoder", "mine", StraightThroughEncoder)
    registry.register("encoder", "mine", StraightThroughEncoder)  # the same cell run again
    with pytest.raises(ComponentClashError, match="'mine' is taken"):
        registry.register("encoder", "mine", default_registry().load("encoder", "fourier"))


@pytest.mark.parametrize("name", ["", "a_b", "A", "1a", "a b", "../x"])
def test_register_refuses_malformed_names(registry: Registry, name: str) -> None:
    with pytest.raises(ComponentError, match="is not a component name"):
        registry.register("encoder", name, StraightThroughEncoder)


@pytest.mark.parametrize("lacking", ["code", "differentiable"])
def test_an_encoder_that_does_not_say_what_it_is_is_broken(lacking: str) -> None:
    said = {"code": "x", "differentiable": True}
    del said[lacking]
    methods = {"timesteps": property(lambda self: 1), "forward": lambda self, x: x[None]}
    found = type("Vague", (contracts.Encoder,), {"api_version": 1, **said, **methods})
    with pytest.raises(BrokenComponentError, match=f"lacks the class attributes {lacking}"):
        Registry([_component("vague", "zoo-vague", found)]).load("encoder", "vague")


def test_listing_survives_a_clashing_and_a_broken_family(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Component("family", "sew", "zoo-bad", "1.0", "bad:Sew", _import=lambda: _raise(ImportError("no")))
    registry = Registry([*(replace(c) for c in default_registry().components() if c.name != "ann"), broken])
    monkeypatch.setattr("zoo.catalog.listing.default_registry", lambda: registry)
    monkeypatch.setattr("zoo.composition.default_registry", lambda: registry)
    found = zoo.list_models(encoder="ste")
    assert "has8_resnet_b8_m2_d4_ste_bpd" in found
    assert zoo.list_models(family="sew") == []
    assert "sew_resnet18_rate" in zoo.list_models()


class _Clumsy(SewFamily):  # type: ignore[misc] # final
    def parse(self, remainder: str, known: Any) -> Any:  # type: ignore[misc] # final
        first, second = remainder.split("-")
        return ((first, second),)


class _Demanding(SewFamily):  # type: ignore[misc] # final
    def __init__(self, needed: int) -> None: ...


@pytest.mark.parametrize(
    ("family", "said"), [(_Clumsy, "ValueError: not enough values"), (_Demanding, "TypeError: .*'needed'")]
)
def test_a_family_that_raises_what_it_likes_hides_its_own_models_alone(
    monkeypatch: pytest.MonkeyPatch, family: type[Any], said: str
) -> None:
    clumsy = Component("family", "sew", "zoo-bad", "1.0", "bad:Sew", _import=lambda: family)
    registry = Registry([*(replace(c) for c in default_registry().components() if c.name != "sew"), clumsy])
    monkeypatch.setattr("zoo.catalog.listing.default_registry", lambda: registry)
    monkeypatch.setattr("zoo.composition.default_registry", lambda: registry)
    assert "has8_resnet_b8_m2_d4_ste_bpd" in zoo.list_models(encoder="ste")
    assert zoo.list_models(family="sew") == []
    with pytest.raises(
        BrokenComponentError, match=rf"family 'sew' of zoo-bad 1.0 .* cannot read 'sew_resnet18_rate': {said}"
    ):
        zoo.create_model("sew_resnet18_rate")


@pytest.mark.parametrize("thing", [5, StraightThroughEncoder()])
def test_register_takes_classes_alone(registry: Registry, thing: Any) -> None:
    with pytest.raises(ComponentError, match="must be a class, not"):
        registry.register("encoder", "mine", thing)
    with pytest.raises(ComponentError, match="is not a component name"):
        registry.register("encoder", thing, StraightThroughEncoder)


def test_register_refuses_what_is_no_component(registry: Registry) -> None:
    with pytest.raises(BrokenComponentError):
        registry.register("encoder", "mine", torch.nn.Identity)
    assert "mine" not in registry.plain_names("encoder")


def test_the_decorator_adds_to_this_process() -> None:
    code = (
        "import zoo, torch\nfrom zoo.encoders.bitplanes import BitPlaneEncoder, straight_through_planes\n"
        "@zoo.register('encoder', 'mine')\nclass Mine(BitPlaneEncoder):\n"
        "    def forward(self, x): return straight_through_planes(x)\n"
        "print(zoo.create_model('has8_resnet_b1_m1_d1_mine_bpd', num_classes=2)(torch.rand(1, 3, 8, 8)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch.Size([1, 2])" in done.stdout


def _install(site: Path, name: str, entry_points: str, module: str) -> None:
    """A distribution as pip leaves it: a module and its metadata."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    (site / f"{name.replace('-', '_')}.py").write_text(module, encoding="utf-8")


def test_an_installed_plugin_is_found_but_not_imported_until_used(tmp_path: Path) -> None:
    _install(
        tmp_path,
        "zoo-third",
        "[zoo.encoders]\nthird = zoo_third:Third\n[zoo.neurons]\nexits = zoo_exits:Exits\n",
        "from zoo.encoders.bitplanes import BitPlaneEncoder, straight_through_planes\n"
        "class Third(BitPlaneEncoder):\n    def forward(self, x): return straight_through_planes(x)\n",
    )
    (tmp_path / "zoo_exits.py").write_text("import sys; sys.exit('no')", encoding="utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport zoo\n"
        "assert 'third' in zoo.list_components('encoder') and 'exits' in zoo.list_components('neuron')\n"
        "zoo.parse_name('has8_resnet_b1_m1_d1_third_bpd'); assert 'zoo_third' not in sys.modules\n"
        "m = zoo.create_model('has8_resnet_b1_m1_d1_third_bpd', num_classes=2); assert 'zoo_third' in sys.modules\n"
        "try: zoo.create_model('has8_resnet_b1_m1_d1_third_bpd_exits')\n"
        "except zoo.errors.BrokenComponentError as e: assert 'zoo-third 1.0' in str(e) and 'SystemExit' in str(e)\n"
        "print(zoo.model_info('has8_resnet_b1_m1_d1_third_bpd')['components'][2]['distribution'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "zoo-third"
