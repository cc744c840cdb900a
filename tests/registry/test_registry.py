"""The registry: lazy, clash-safe, and never broken by a broken component."""

from __future__ import annotations

import importlib.metadata
import os
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

import zoo
from zoo import contracts
from zoo.encoders.bitplanes import BitPlaneEncoder, StraightThroughEncoder, straight_through_planes
from zoo.errors import (
    ComponentError,
    MissingPluginError,
    UnknownComponentError,
)
from zoo.families.sew import SewFamily
from zoo.registry import GROUPS, Component, Registry, State, check_providers, default_registry, parse_name, scan

EXPECTED = {
    "family": ["ann", "has8", "sew", "snn", "timm"],
    "backbone": ["resnet", "resnet101", "resnet152", "resnet34", "resnet50", "resnetfull", "resnetsmall", "vgg"],
    "encoder": ["fourier", "fourierraw", "phase", "rate", "sigmoid", "sigmoidraw", "ste", "tanh", "tanhraw", "ttfs"],
    "decoder": ["bpd", "rate"],
    "neuron": ["if", "lif", "plif"],
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_built_ins_register_through_entry_points(kind: str) -> None:
    ours = importlib.metadata.distribution("has8-zoo").entry_points.select(group=GROUPS[kind])
    assert {point.name for point in ours} >= set(EXPECTED[kind])
    assert set(EXPECTED[kind]) <= set(zoo.list_components(kind))


def test_every_built_in_loads_and_is_described() -> None:
    for component in default_registry().components():
        if component.distribution == "has8-zoo":
            cls = component.load()
            assert issubclass(cls, getattr(contracts, component.kind.title().replace("_", "")))
            assert component.summary == cls.__doc__.splitlines()[0]


def test_unknown_kind() -> None:
    with pytest.raises(UnknownComponentError, match=r"'encoders'.*'encoder'"):
        zoo.list_components("encoders")


# What a plugin's import may end in ------------------------------------------------------------------------------------


def _component(name: str, distribution: str, found: Any) -> Component:
    return Component("encoder", name, distribution, "1.0", f"{distribution}:Thing", lambda: found)


def _raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", [ImportError("no such thing"), SystemExit(3), RuntimeError("boom"), SyntaxError("x")])
def test_a_plugin_that_fails_at_import_is_shown_and_breaks_no_other(registry: Registry, error: BaseException) -> None:
    bad = Component("encoder", "bad", "zoo-bad", "1.0", "bad:Thing", _raising(error))
    registry = Registry([*registry.components(), bad])
    zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=2, registry=registry)
    for _ in range(2):  # the second use says the same
        with pytest.raises(ComponentError, match=r"zoo-bad 1.0 \(bad:Thing\)"):
            registry.load("encoder", "bad")
    assert bad.state is State.BROKEN
    assert type(error).__name__ in str(bad.error).splitlines()[-1]


class _Undecided:
    """An API version that cannot be compared, as an array cannot."""

    def __ne__(self, other: object) -> bool:
        raise ValueError("truth value of an array")


def _bit_plane(**attributes: Any) -> type:
    return type("Thing", (BitPlaneEncoder,), {"forward": lambda self, x: straight_through_planes(x)} | attributes)


def _encoder(*left_out: str, **attributes: Any) -> type:
    content = {"api_version": 1, "code": "x", "differentiable": True, "timesteps": property(lambda self: 1)}
    content |= {"forward": lambda self, x: x[None]} | attributes
    return type("Thing", (contracts.Encoder,), {k: v for k, v in content.items() if k not in left_out})


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (None, State.BROKEN, "zoo.contracts.Encoder"),
        (torch.nn.Identity, State.BROKEN, "zoo.contracts.Encoder"),
        (StraightThroughEncoder(), State.BROKEN, "zoo.contracts.Encoder"),
        (_bit_plane(api_version=_Undecided()), State.BROKEN, "truth value of an array"),
        (_encoder("timesteps"), State.BROKEN, "timesteps"),
        (_encoder("code"), State.BROKEN, "code"),
        (_encoder("differentiable"), State.BROKEN, "differentiable"),
        (_encoder(__init__=lambda self, tau: None), State.BROKEN, "'tau'"),
        (_bit_plane(api_version=2), State.INCOMPATIBLE, "2"),
        (_bit_plane(api_version="1"), State.INCOMPATIBLE, "'1'"),
        (_encoder("api_version"), State.INCOMPATIBLE, "api_version"),
    ],
)
def test_what_does_not_keep_the_contract_is_named(found: Any, state: State, told: str) -> None:
    component = _component("odd", "zoo-odd", found)
    with pytest.raises(ComponentError, match=told):
        Registry([component]).load("encoder", "odd")
    assert component.state is state


def test_threads_load_a_component_together() -> None:
    together = threading.Barrier(8)

    def imported() -> Any:
        together.wait(timeout=20)
        return StraightThroughEncoder

    component = Component("encoder", "slow", "zoo-slow", "1.0", "slow:Thing", imported)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: component.load(), range(8))) == [StraightThroughEncoder] * 8
    assert (component.state, component.error) == (State.LOADED, None)


def test_a_module_that_uses_its_own_component_at_import_has_it_once() -> None:
    classes = iter([_bit_plane(), _bit_plane()])
    inner: list[Any] = []

    def imported() -> Any:
        mine = next(classes)
        if not inner:
            inner.append(None)
            inner[0] = registry.load("encoder", "own")
        return mine

    registry = Registry([Component("encoder", "own", "zoo-own", "1.0", "own:Thing", imported)])
    assert registry.load("encoder", "own") is inner[0]
    assert registry.load("encoder", "own") is inner[0]


# Names that are claimed, taken, malformed -----------------------------------------------------------------------------


def test_two_distributions_claiming_one_name() -> None:
    one = _component("same", "zoo-one", StraightThroughEncoder)
    two = _component("same", "zoo-two", StraightThroughEncoder)
    registry = Registry([one, two])
    with pytest.raises(ComponentError, match=r"zoo-one 1\.0.*zoo-two 1\.0.*'zoo-one:same' or 'zoo-two:same'"):
        registry.load("encoder", "same")
    assert registry.load("encoder", "zoo-two:same") is StraightThroughEncoder
    assert registry.status(one)[0] is registry.status(two)[0] is State.CONFLICT


def test_a_plugin_that_shadows_a_built_in_clashes_but_leaves_the_rest(registry: Registry) -> None:
    registry = Registry([*registry.components(), _component("ste", "zoo-shadow", StraightThroughEncoder)])
    with pytest.raises(ComponentError, match="has8-zoo"):
        zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", registry=registry)
    for encoder in ("fourier", "has8-zoo:ste", "zoo-shadow:ste"):
        zoo.create_model(f"has8_resnet_b1_m1_d1_{encoder}_bpd", num_classes=2, registry=registry)


def test_the_same_record_seen_twice_is_no_clash() -> None:
    points = list(importlib.metadata.distribution("has8-zoo").entry_points.select(group="zoo.decoders"))
    registry = Registry(scan(points + points))
    assert len(registry.components("decoder")) == len(points)
    registry.load("decoder", "bpd")


@pytest.mark.parametrize("name", ["with_underscore", "Upper", "9lives", "has-hyphen", "", "a b", "../x", 5])
def test_a_malformed_name_is_visible_and_unusable(registry: Registry, name: Any) -> None:
    point = importlib.metadata.EntryPoint(str(name), "zoo.encoders.bitplanes:StraightThroughEncoder", "zoo.encoders")
    (component,) = scan([point])
    assert component.state is State.BROKEN
    assert Registry([component]).plain_names("encoder") == []
    with pytest.raises(ComponentError):
        registry.register("encoder", name, StraightThroughEncoder)


def test_switching_off_by_distribution_name_or_both() -> None:
    points = list(importlib.metadata.distribution("has8-zoo").entry_points.select(group="zoo.decoders"))
    for entry, expected in (("bpd", {"bpd"}), ("Has8.Zoo", {"bpd", "rate"}), ("has8_zoo:rate", {"rate"}), ("x", set())):
        components = list(scan(points, frozenset([entry])))
        assert {c.name for c in components if c.state is State.DISABLED} == expected


# Registering in this process ------------------------------------------------------------------------------------------


def test_register_works_in_a_model_and_in_this_registry_alone(registry: Registry) -> None:
    registry.register("encoder", "mine", _bit_plane(api_version=1))
    model = zoo.create_model("has8_resnet_b1_m1_d1_mine_bpd", num_classes=2, registry=registry)
    assert model(torch.rand(1, 3, 16, 16)).shape == (1, 2)
    with pytest.raises(UnknownComponentError):
        zoo.create_model("has8_resnet_b1_m1_d1_mine_bpd")


def test_register_never_overwrites(registry: Registry) -> None:
    with pytest.raises(ComponentError, match="has8-zoo"):
        registry.register("encoder", "ste", StraightThroughEncoder)
    registry.register("encoder", "mine", StraightThroughEncoder)
    registry.register("encoder", "mine", StraightThroughEncoder)  # the same cell run again
    with pytest.raises(ComponentError, match="'mine'"):
        registry.register("encoder", "mine", default_registry().load("encoder", "fourier"))


@pytest.mark.parametrize("thing", [5, StraightThroughEncoder(), torch.nn.Identity])
def test_register_takes_classes_that_keep_the_contract(registry: Registry, thing: Any) -> None:
    with pytest.raises(ComponentError):
        registry.register("encoder", "mine", thing)
    assert "mine" not in registry.plain_names("encoder")


# Families -------------------------------------------------------------------------------------------------------------


class _Clumsy(SewFamily):  # type: ignore[misc] # final
    def parse(self, remainder: str, known: Any) -> Any:  # type: ignore[misc] # final
        first, second = remainder.split("-")
        return ((first, second),)


class _Demanding(SewFamily):  # type: ignore[misc] # final
    def __init__(self, needed: int) -> None: ...


@pytest.mark.parametrize(
    ("importer", "told"),
    [
        (_raising(ImportError("no")), "ImportError"),
        (lambda: _Clumsy, "ValueError"),
        (lambda: _Demanding, "'needed'"),
    ],
)
def test_a_broken_family_hides_its_own_models_alone(
    monkeypatch: pytest.MonkeyPatch, importer: Callable[[], Any], told: str
) -> None:
    broken = Component("family", "sew", "zoo-bad", "1.0", "bad:Sew", importer)
    registry = Registry([*(replace(c) for c in default_registry().components() if c.name != "sew"), broken])
    assert "has8_resnet_b8_m2_d4_ste_bpd" in zoo.list_models(encoder="ste", registry=registry)
    assert zoo.list_models(family="sew", registry=registry) == []
    assert "sew_resnet18_rate" in zoo.list_models(registry=registry)
    with pytest.raises(ComponentError, match=f"(?s)family 'sew' of zoo-bad 1.0.*{told}"):
        parse_name("sew_resnet18_rate", registry)


def test_a_model_with_weights_takes_few_modules() -> None:
    code = """
import sys, zoo
zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd.cifar10")
print(len([name for name in sys.modules if name.partition(".")[0] == "zoo"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 40


# Installed distributions, in processes of their own -------------------------------------------------------------------

BRIGHT = """
import torch
from zoo.blocks import BitPlaneEncoder, straight_through_planes
class Bright(BitPlaneEncoder):
    \"\"\"Planes of a power.\"\"\"
    api_version = 1
    def forward(self, x): return straight_through_planes(x.clamp(min=1e-4) ** {power})
"""


def install(site: Path, name: str, points: str | bytes, **modules: str) -> None:
    """A distribution as pip leaves it: modules and metadata."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_bytes(points if isinstance(points, bytes) else points.encode())
    for module, text in modules.items():
        (site / f"{module}.py").write_text(text, encoding="utf-8")


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment, timeout=120
    )


def test_an_installed_plugin_is_found_but_not_imported_until_used(tmp_path: Path) -> None:
    points = "[zoo.encoders]\nbright = zoo_third:Bright\n[zoo.neurons]\nexits = zoo_exits:Exits\n"
    install(tmp_path, "zoo-third", points, zoo_third=BRIGHT.format(power=1), zoo_exits="import sys; sys.exit('no')")
    code = """
import sys, zoo
assert "bright" in zoo.list_components("encoder") and "exits" in zoo.list_components("neuron")
zoo.parse_name("has8_resnet_b1_m1_d1_bright_bpd")
from zoo.registry import default_registry
assert default_registry().find("encoder", "bright").summary == "Planes of a power."
assert "zoo_third" not in sys.modules and "torch" not in sys.modules
zoo.create_model("has8_resnet_b1_m1_d1_bright_bpd", num_classes=2)
assert "zoo_third" in sys.modules
try: zoo.create_model("has8_resnet_b1_m1_d1_bright_bpd_exits")
except zoo.errors.ComponentError as error: print("SystemExit" in str(error))
print(zoo.model_info("has8_resnet_b1_m1_d1_bright_bpd")["components"][2]["distribution"])
"""
    done = run(tmp_path, "-c", code)
    assert done.stdout.split() == ["True", "zoo-third"], done.stderr


@pytest.mark.parametrize("points", ["[zoo.encoders]\nnothing\n", "[other]\nnothing\n", b"[zoo.encoders]\n\xff = x:Y"])
def test_damaged_metadata_of_any_distribution_is_named(tmp_path: Path, points: str | bytes) -> None:
    """Python's own reader of entry points, which pydantic and torch call, fails on it."""
    install(tmp_path, "other-thing", points)
    names = run(tmp_path, "-c", "import zoo; print('ste' in zoo.list_components('encoder'))")
    assert names.stdout == "True\n", names
    for command in (["list"], ["plugins"], ["info", "has8_resnet_b8_m2_d4_ste_bpd"]):
        done = run(tmp_path, "-m", "zoo", *command)
        assert (done.returncode, "other-thing" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done


def test_a_model_is_built_with_the_distributions_that_it_was_saved_with(tmp_path: Path) -> None:
    for name, power in (("zoo-one", 0.5), ("zoo-two", 2.0)):
        module = name.replace("-", "_")
        points = f"[zoo.encoders]\nbright = {module}:Bright\n"
        install(tmp_path / name, name, points, **{module: BRIGHT.format(power=power)})
    saved = tmp_path / "saved"
    code = (
        "import zoo; m = zoo.create_model('has8_resnet_b1_m1_d1_bright_bpd', num_classes=2)\n"
        f"zoo.save(m, {str(saved)!r}, labels=['cat', 'fox'], image_size=8)"
    )
    assert run(tmp_path / "zoo-one", "-c", code).returncode == 0
    code = (
        f"import zoo\ntry: zoo.create_model('local-dir:{saved}'); print('built')\n"
        "except zoo.errors.MissingPluginError as error: print(error)"
    )
    assert run(tmp_path / "zoo-one", "-c", code).stdout == "built\n"
    refused = run(tmp_path / "zoo-two", "-c", code).stdout
    assert "zoo-one" in refused
    assert "zoo-two 1.0" in refused


def test_a_component_of_this_process_replaces_no_plugin(registry: Registry) -> None:
    registry.register("encoder", "bright", _bit_plane(api_version=1))
    spec = parse_name("has8_resnet_b1_m1_d1_bright_bpd", registry)
    check_providers(spec, ["has8-zoo"], "saved", registry)
    with pytest.raises(MissingPluginError, match="zoo-one"):
        check_providers(spec, ["has8-zoo", "zoo-one"], "saved", registry)
