"""Whatever is installed beside it, the zoo goes on: real wheels, each broken in its own way, in real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

import zoo
from tests.plugins.child_process import RunPython
from tests.plugins.made_wheels import WORKS, write_wheel
from zoo.catalog import catalog_path

Install = Callable[[Iterable[Path], Path], Path]

MODULES = {
    "raises": ("raise RuntimeError('boom')", "encoder", "broken", "RuntimeError: boom"),
    "exits": ("import sys\nsys.exit('bye')", "neuron", "broken", "SystemExit: bye"),
    "needs": ("import a_library_that_is_missing", "decoder", "broken", "a_library_that_is_missing"),
    "gap": ("", "backbone", "broken", "has no attribute 'Thing'"),
    "odd": ("Thing = 5", "encoder", "broken", "is not a subclass of zoo.contracts.Encoder"),
    "newer": (WORKS.replace("api_version = 1", "api_version = 2"), "encoder", "incompatible", "API version 2"),
    "ste": (WORKS, "encoder", "conflict", "claimed by has8-zoo"),
    "prints": ("print('hello from the import')\n" + WORKS, "encoder", "loaded", ""),
    "fambad": ("raise RuntimeError('no family')", "family", "broken", "RuntimeError: no family"),
    "convert": ("class Thing: api_version = 1", "converter", "broken", "zoo.contracts.Converter"),
}
"""Name → module, kind, and the state and the reason that `zoo plugins` shows."""

GROUPS = {"family": "families"}
CATALOGS = {
    "malformed": ("broken", "does not follow the schema"),
    "dated": ("broken", "YAML"),
    "missing": ("broken", "registry.yaml"),
    "fine": ("loaded", ""),
    "other": ("conflict", "different bytes"),
}
TAKEN = "ann_resnet_b8_m2_d4.cifar10"


def _catalogs() -> dict[str, str]:
    """Files of a package of catalogs; importing the packages raises: no one does."""
    own = yaml.safe_load(catalog_path().read_text(encoding="utf-8"))
    taken = next(record for record in own["weights"] if f"{record['variant']}.{record['tag']}" == TAKEN)
    contents = {
        "malformed": "version: 1\nvariants: [{nomes: has8_resnet_b2_m1_d1_ste_bpd}]\n",
        "dated": "version: 2020-13-45\n",
        "other": yaml.safe_dump({"version": 1, "weights": [taken | {"sha256": "0" * 64}]}),
        "fine": "version: 1\nvariants: [{names: 'has8_vgg_b{5,6}_m1_d1_fourier_bpd'}]\n",
    }
    files = {f"zoo_catalogs/{name}/registry.yaml": text for name, text in contents.items()}
    return files | {"zoo_catalogs/__init__.py": "raise RuntimeError('imported')"}


@pytest.fixture(scope="module")
def crowd(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them; of one the metadata is damaged afterwards."""
    folder = tmp_path_factory.mktemp("wheels")
    wheels = [
        write_wheel(
            folder,
            f"zoo-{name}",
            {f"zoo_{name}.py": text},
            {f"zoo.{GROUPS.get(kind, kind + 's')}": {name: f"zoo_{name}:Thing"}},
        )
        for name, (text, kind, _, _) in MODULES.items()
    ]
    points = {"zoo.catalogs": {name: f"zoo_catalogs.{name}" for name in CATALOGS}}
    wheels.append(write_wheel(folder, "zoo-catalogs", _catalogs(), points))
    site = install(wheels, tmp_path_factory.mktemp("site"))
    (site / "zoo_prints-1.0.dist-info" / "METADATA").unlink()
    return site


def test_the_catalog_is_listed_and_nothing_was_imported(crowd: Path, run_python: RunPython) -> None:
    done = run_python(["-X", "importtime", "-m", "zoo", "list"], crowd)
    assert done.returncode == 0, done.stderr
    assert {*zoo.list_models(), "has8_vgg_b5_m1_d1_fourier_bpd"} <= set(done.stdout.splitlines())
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {name for name in imported if name.startswith("zoo_")} | {"torch"} & imported


def test_plugins_shows_every_state_with_its_reason(crowd: Path, run_python: RunPython) -> None:
    done = run_python(["-m", "zoo", "plugins", "--json"], crowd)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = {(kind, name): (state, reason) for name, (_, kind, state, reason) in MODULES.items()}
    said |= {("catalog", name): each for name, each in CATALOGS.items()}
    for (kind, name), (state, reason) in said.items():
        found = [row for row in rows if (row["kind"], row["name"]) == (kind, name)]
        assert {row["state"] for row in found} == {state}, (name, found)
        assert all(reason in (row["error"] or "") for row in found), (name, found)


USE = """
import zoo, torch
for name in ("has8_resnet_b2_m1_d1_has8-zoo:ste_bpd", "has8_resnet_b2_m1_d1_prints_bpd", "sew_resnet18_rate"):
    zoo.create_model(name, num_classes=2)(torch.rand(1, 3, 8, 8))
for name, error in {
    "has8_resnet_b2_m1_d1_raises_bpd": zoo.errors.ComponentError,
    "has8_resnet_b2_m1_d1_fourier_bpd_exits": zoo.errors.ComponentError,
    "has8_resnet_b2_m1_d1_ste_bpd": zoo.errors.ComponentError,
    "has8_resnet_b2_m1_d1_newer_bpd": zoo.errors.ComponentError,
    "fambad_x": zoo.errors.ComponentError,
}.items():
    try:
        zoo.create_model(name)
    except error:
        continue
    raise SystemExit(f"{name} works")
"""


@pytest.mark.slow
def test_every_other_model_works_and_the_broken_ones_say_why(crowd: Path, run_python: RunPython) -> None:
    done = run_python(USE, crowd)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_is_switched_off_is_no_problem_any_more(crowd: Path, run_python: RunPython) -> None:
    switches = [f"zoo-{name}" for name, (_, _, state, _) in MODULES.items() if state != "loaded" and name != "ste"]
    switches += ["malformed", "dated", "missing", "zoo-catalogs:other", "Zoo_Ste", "zoo-gone"]
    done = run_python(["-m", "zoo", "plugins"], crowd, {"ZOO_DISABLE_PLUGINS": ", ".join(switches), "COLUMNS": "300"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert not {"broken", "incompatible", "conflict"} & set(done.stdout.split())
    assert "zoo-gone" in done.stderr
