"""Distributions that claim the names of built-in components, as pip installs them; in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from zoo_kit.installed import put, run_python

from zoo.registry.components import GROUPS, default_registry

CLAIMED = {
    "family": "has8",
    "backbone": "resnet",
    "encoder": "ste",
    "decoder": "bpd",
    "neuron": "if",
    "dataset": "cifar10",
    "energy_model": "lowbit",
}
"""Kind → a name of has8-zoo's own that its built-in networks, data or profiles use."""
NAME = "has8_resnet_b8_m2_d4_ste_bpd"
MODULE = """
from zoo.registry.components import default_registry

registry = default_registry()
for kind, name in {claimed}.items():
    own = registry.find(kind, "has8-zoo:" + name).load()
    globals()[kind] = type("Rival", (own,), {{"api_version": 1}})
"""
START = f"""
import sys, warnings
import zoo
from zoo.registry.components import default_registry

CLAIMED, NAME = {CLAIMED!r}, {NAME!r}
registry = default_registry()

def heard(call, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*arguments)
    return result, [str(each.message) for each in caught if issubclass(each.category, zoo.errors.ZooWarning)]
"""


def claim(site: Path, name: str, module: str = MODULE) -> None:
    """Install a distribution that offers a component of each kind under the built-in one's name."""
    package = name.replace("-", "_")
    points = "".join(f"[{GROUPS[kind]}]\n{word} = {package}:{kind}\n" for kind, word in CLAIMED.items())
    put(site, name, points, {f"{package}.py": module.format(claimed=CLAIMED)})


def run(code: str, site: Path) -> None:
    done = run_python(START + code, site)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_of_component_has_a_built_in_one_or_is_added_to() -> None:
    own = {part.kind for part in default_registry().components() if part.distribution == "has8-zoo"}
    assert own == CLAIMED.keys()


STEPS = {
    "own": """
for kind, name in CLAIMED.items():
    cls, told = heard(registry.choose, kind, name)
    assert cls.__module__.startswith("zoo."), cls
    assert any("has8-zoo" in text and f"'zoo-rival:{name}'" in text for text in told), told
    assert registry.load(kind, "zoo-rival:" + name).__name__ == "Rival"
model, told = heard(zoo.create_model, NAME)
assert str(model.spec) == NAME and any("'zoo-rival:if'" in text for text in told), told
spec = zoo.create_model(NAME + "_zoo-rival:if").spec
assert spec["neuron"] == "zoo-rival:if"
""",
    "record": """
for name in (NAME + ".cifar10", NAME + "_has8-zoo:if.cifar10"):
    model, told = heard(zoo.create_model, name)
    assert model.pretrained_cfg["tag"] == "cifar10" and not any("zoo-rival:if" in text for text in told)
    assert ":" in name or not told, told
    assert {type(part).__name__ for part in model.modules()} >= {"IFNeuron"}
try:
    zoo.create_model(NAME + "_zoo-rival:if.cifar10")
except zoo.errors.ModelNameError:
    pass
else:
    raise AssertionError("the weights of another neuron")
""",
}


@pytest.fixture(scope="module")
def beside_a_rival(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in each of these, in one process in which a rival is installed."""
    site = tmp_path_factory.mktemp("site")
    claim(site, "zoo-rival")
    code = f"""
import json, traceback
wrong = {{}}
for name, code in {STEPS!r}.items():
    try:
        exec(code)
    except BaseException:
        wrong[name] = traceback.format_exc()
print(json.dumps(wrong))
"""
    done = run_python(START + code, site)
    assert done.returncode == 0, done.stderr
    wrong: dict[str, str] = json.loads(done.stdout)
    return wrong


def test_the_zoos_own_component_wins_with_a_warning(beside_a_rival: dict[str, str]) -> None:
    assert "own" not in beside_a_rival, beside_a_rival["own"]


def test_a_checkpoint_is_of_the_packages_that_its_record_names(beside_a_rival: dict[str, str]) -> None:
    assert "record" not in beside_a_rival, beside_a_rival["record"]


@pytest.mark.slow
def test_broken_distributions_claim_nothing(tmp_path: Path) -> None:
    for number, module in enumerate(("raise RuntimeError('boom')", "neuron = encoder = 5", "import a_missing_library")):
        claim(tmp_path, f"zoo-rival{number}", module)
    code = """
for kind, name in CLAIMED.items():
    assert heard(registry.choose, kind, name)[1] == []
for name in (NAME, NAME + ".cifar10"):
    assert heard(zoo.create_model, name)[1] == []
"""
    run(code, tmp_path)


def test_what_is_saved_loads_though_another_package_claims_its_names(tmp_path: Path) -> None:
    words = dict(CLAIMED)
    folder = tmp_path / "saved"
    new = {kind: f"new{word}" for kind, word in words.items() if kind not in ("dataset", "energy_model")}
    name = "{family}_{backbone}_b2_m1_d1_{encoder}_{decoder}_{neuron}".format(**new)

    def install(distribution: str) -> None:
        package = distribution.replace("-", "_")
        points = "".join(f"[{GROUPS[kind]}]\n{word} = {package}:{kind}\n" for kind, word in new.items())
        put(tmp_path / distribution, distribution, points, {f"{package}.py": MODULE.format(claimed=words)})

    install("zoo-first")
    install("zoo-second")
    code = f"""
zoo.save(zoo.create_model({name!r}, num_classes=2), {str(folder)!r}, image_size=8)
sys.path.append({str(tmp_path / "zoo-second")!r})
default_registry.cache_clear()
try:
    zoo.create_model({name!r})
except zoo.errors.ComponentError as error:
    assert "zoo-first" in str(error) and "zoo-second" in str(error)
else:
    sys.exit("two packages have one name")
model, told = heard(zoo.create_model, "local-dir:{folder}")
assert not told and model.spec.plain_text == {name!r}, model.spec
assert model.spec.distributions == {{"zoo-first"}}
zoo.save(model, "again", image_size=8)
assert zoo.create_model("local-dir:again").spec == model.spec
"""
    run(code, tmp_path / "zoo-first")
