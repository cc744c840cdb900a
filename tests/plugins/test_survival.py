"""Whatever is installed beside it, the zoo goes on: real wheels, each broken in its own way, in real processes.

They are installed together, because none may break another one either. Alone is the one that interrupts its import.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo
from tests.plugins.child_process import RunPython
from tests.plugins.made_wheels import WORKS, write_wheel
from zoo.catalog.catalog import catalog_path

Install = Callable[[Iterable[Path], Path], Path]

DECODES = """
from zoo.contracts import Decoder

class Thing(Decoder):
    api_version, codes, timesteps = 1, None, None

    def forward(self, spikes):
        return spikes.mean(0)
"""
MODULES = {
    "raises": "raise RuntimeError('boom')",
    "exits": "import sys\nsys.exit('bye')",
    "hangs": WORKS + "\n    def __init__(self):\n        import time\n        time.sleep(10**6)\n",
    "needs": "import a_library_that_is_not_installed",
    "gap": "",
    "odd": "Thing = 5",
    "newer": WORKS.replace("api_version = 1", "api_version = 2"),
    "one": DECODES,
    "two": DECODES,
    "shadow": WORKS,
    "under": WORKS,
    "base": "class Unusual(BaseException): pass\nraise Unusual('not even an Exception')",
    "prints": "print('{hello from the import')\n" + WORKS,
    "noversion": WORKS,
    "nometadata": WORKS,
    "twice": WORKS,
    "fambad": "raise RuntimeError('no family')",
    "convert": "class Thing: api_version = 1",
}
POINTS = {
    "raises": ("encoders", "raises"),
    "exits": ("neurons", "exits"),
    "hangs": ("encoders", "hangs"),
    "needs": ("decoders", "needs"),
    "gap": ("backbones", "gap"),
    "odd": ("encoders", "odd"),
    "newer": ("encoders", "newer"),
    "one": ("decoders", "same"),
    "two": ("decoders", "same"),
    "shadow": ("encoders", "ste"),
    "under": ("encoders", "with_underscore"),
    "base": ("encoders", "base"),
    "prints": ("encoders", "prints"),
    "noversion": ("encoders", "noversion"),
    "nometadata": ("encoders", "nometadata"),
    "twice": ("encoders", "twice"),
    "fambad": ("families", "fambad"),
    "convert": ("converters", "nothing"),
}
"""Distribution `zoo-…` → the group and the name that it claims."""

SAID = {
    ("encoder", "raises"): ("broken", "RuntimeError: boom"),
    ("neuron", "exits"): ("broken", "SystemExit: bye"),
    ("encoder", "hangs"): ("loaded", ""),
    ("decoder", "needs"): ("broken", "No module named 'a_library_that_is_not_installed'"),
    ("backbone", "gap"): ("broken", "module 'zoo_gap' has no attribute 'Thing'"),
    ("encoder", "odd"): ("broken", "zoo_odd:Thing is not a subclass of zoo.contracts.Encoder"),
    ("encoder", "newer"): ("incompatible", "asks for API version 2, this zoo offers 1"),
    ("decoder", "same"): ("conflict", "claimed by zoo-one 1.0 (zoo_one:Thing) and zoo-two 1.0"),
    ("encoder", "ste"): ("conflict", "claimed by has8-zoo"),
    ("encoder", "with_underscore"): ("broken", "is not a component name"),
    ("encoder", "base"): ("broken", "Unusual: not even an Exception"),
    ("encoder", "prints"): ("loaded", ""),
    ("encoder", "noversion"): ("loaded", ""),
    ("encoder", "nometadata"): ("loaded", ""),
    ("encoder", "twice"): ("loaded", ""),
    ("family", "fambad"): ("broken", "RuntimeError: no family"),
    ("converter", "nothing"): ("broken", "is not a subclass of zoo.contracts.Converter"),
    ("catalog", "malformed"): ("broken", "does not follow the schema"),
    ("catalog", "dated"): ("broken", "is not YAML"),
    ("catalog", "missing"): ("broken", "holds no registry.yaml"),
    ("catalog", "fine"): ("loaded", ""),
    ("catalog", "again"): ("loaded", ""),
    ("catalog", "other"): ("conflict", "stands for different bytes in has8-zoo and zoo-catalogs 1.0"),
}
"""Kind and name → the state and the reason that `zoo plugins` shows."""

TAKEN = "ann_resnet_b8_m2_d4.cifar10"
OTHER = "has8_resnet_b2_m1_d1_fourier_bpd"


def _catalogs() -> dict[str, str]:
    """A distribution of five catalogs, three broken and one named twice; importing the packages raises: no one does."""
    own = yaml.safe_load(catalog_path().read_text(encoding="utf-8"))
    taken = next(record for record in own["weights"] if f"{record['variant']}.{record['tag']}" == TAKEN)
    other = {"version": 1, "variants": [{"names": "has8_resnet_b3_m1_d1_ste_bpd"}], "weights": [taken]}
    fine = taken | {"tag": "elsewhere"}
    taken["sha256"] = "0" * 64
    contents = {
        "malformed": "version: 1\nvariants: [{nomes: has8_resnet_b2_m1_d1_ste_bpd}]\n",
        "dated": "version: 2020-13-45\n",
        "other": yaml.safe_dump(other),
        "fine": yaml.safe_dump(
            {"version": 1, "variants": [{"names": "has8_vgg_b{5,6}_m1_d1_fourier_bpd"}], "weights": [fine]}
        ),
    }
    files = {f"zoo_catalogs/{name}/registry.yaml": text for name, text in contents.items()}
    return files | {"zoo_catalogs/__init__.py": "raise RuntimeError('imported')"}


def _wheels(folder: Path) -> list[Path]:
    made = [
        write_wheel(folder, f"zoo-{name}", {f"zoo_{name}.py": text}, {f"zoo.{group}": {point: f"zoo_{name}:Thing"}})
        for name, text in MODULES.items()
        for group, point in [POINTS[name]]
    ]
    catalogs = {name: f"zoo_catalogs.{name}" for name in ("malformed", "dated", "other", "fine", "missing")}
    catalogs["again"] = catalogs["fine"]
    return [*made, write_wheel(folder, "zoo-catalogs", _catalogs(), {"zoo.catalogs": catalogs})]


@pytest.fixture(scope="module")
def crowd(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them; of two the metadata is damaged afterwards."""
    site = install(_wheels(tmp_path_factory.mktemp("wheels")), tmp_path_factory.mktemp("site"))
    metadata = site / "zoo_noversion-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text(encoding="utf-8").replace("Version: 1.0\n", ""), encoding="utf-8")
    (site / "zoo_nometadata-1.0.dist-info" / "METADATA").unlink()
    return site


@pytest.fixture(scope="module")
def environment(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With the source tree of `zoo-twice` on the path too, as an editable install leaves it."""
    source = tmp_path_factory.mktemp("source")
    shutil.copy(crowd / "zoo_twice.py", source)
    egg = source / "zoo_twice.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: zoo_twice\nVersion: 1.0\n", encoding="utf-8")
    shutil.copy(crowd / "zoo_twice-1.0.dist-info" / "entry_points.txt", egg)
    return {"PYTHONPATH": f"{crowd}{os.pathsep}{source}"}


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_catalog_is_listed_and_nothing_was_imported(
    crowd: Path, environment: dict[str, str], run_python: RunPython
) -> None:
    done = run_python(["-X", "importtime", "-m", "zoo", "list"], crowd, environment)
    assert done.returncode == 0, done.stderr
    listed = done.stdout.splitlines()
    assert {*zoo.list_models(), "has8_vgg_b5_m1_d1_fourier_bpd", "has8_resnet_b3_m1_d1_ste_bpd"} <= set(listed)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {name for name in imported if name.startswith("zoo_")} | {"torch"} & imported


def test_the_components_are_listed(crowd: Path, environment: dict[str, str], run_python: RunPython) -> None:
    done = run_python(["-m", "zoo", "list", "--components", "--json"], crowd, environment)
    assert done.returncode == 0, done.stderr
    rows = _json_lines(done.stdout)
    assert SAID.keys() <= {(row["kind"], row["name"]) for row in rows}
    by_name = {row["name"]: row for row in rows}
    assert (by_name["noversion"]["distribution"], by_name["noversion"]["version"]) == ("zoo-noversion", None)
    assert (by_name["nometadata"]["distribution"], by_name["nometadata"]["version"]) == ("(unknown)", None)
    assert sum(row["name"] == "twice" for row in rows) == 1


USE = f"""
import json, torch, zoo
from zoo.registry import default_registry

def tried(use):
    try:
        use()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["", ""]

def model(name):
    return lambda: zoo.create_model(name, num_classes=2)(torch.rand(1, 3, 8, 8))

print(json.dumps({{
    "info": zoo.model_info({OTHER!r})["params"],
    "works": {{name: tried(model(name)) for name in (
        {OTHER!r}, "snn_resnet_b2_m1_d1_tanh_rate_lif", "ann_vgg_b2_m1_d1", "sew_resnet18_rate",
        "has8_resnet_b2_m1_d1_has8-zoo:ste_bpd", "has8_resnet_b2_m1_d1_zoo-shadow:ste_zoo-two:same",
        "has8_resnet_b2_m1_d1_prints_bpd", "has8_resnet_b2_m1_d1_noversion_bpd", "has8_resnet_b2_m1_d1_twice_bpd",
        "has8_resnet_b2_m1_d1_nometadata_bpd", "has8_vgg_b5_m1_d1_fourier_bpd",
    )}},
    "fails": {{name: tried(model(name)) for name in (
        "has8_resnet_b2_m1_d1_raises_bpd", "has8_resnet_b2_m1_d1_fourier_bpd_exits", "has8_resnet_b2_m1_d1_ste_bpd",
        "has8_resnet_b2_m1_d1_fourier_needs", "ann_gap_b2_m1_d1", "has8_resnet_b2_m1_d1_odd_bpd", "fambad_x",
        "has8_resnet_b2_m1_d1_newer_bpd", "has8_resnet_b2_m1_d1_fourier_same", "has8_resnet_b2_m1_d1_base_bpd",
        "has8_resnet_b2_m1_d1_with_underscore_bpd",
    )}},
    "weight": tried(lambda: zoo.create_model({TAKEN!r}, pretrained=True)),
    "converter": tried(lambda: default_registry().load("converter", "nothing")),
}}))
"""

FAILS = {
    "has8_resnet_b2_m1_d1_raises_bpd": ("BrokenComponentError", "encoder 'raises' of zoo-raises 1.0"),
    "has8_resnet_b2_m1_d1_fourier_bpd_exits": ("BrokenComponentError", "SystemExit: bye"),
    "has8_resnet_b2_m1_d1_ste_bpd": ("ComponentClashError", "write 'has8-zoo:ste' or 'zoo-shadow:ste'"),
    "has8_resnet_b2_m1_d1_fourier_needs": ("BrokenComponentError", "a_library_that_is_not_installed"),
    "ann_gap_b2_m1_d1": ("BrokenComponentError", "has no attribute 'Thing'"),
    "has8_resnet_b2_m1_d1_odd_bpd": ("BrokenComponentError", "is not a subclass of zoo.contracts.Encoder"),
    "fambad_x": ("BrokenComponentError", "RuntimeError: no family"),
    "has8_resnet_b2_m1_d1_newer_bpd": ("IncompatibleComponentError", "asks for API version 2"),
    "has8_resnet_b2_m1_d1_fourier_same": ("ComponentClashError", "zoo-one 1.0 (zoo_one:Thing) and zoo-two 1.0"),
    "has8_resnet_b2_m1_d1_base_bpd": ("BrokenComponentError", "Unusual: not even an Exception"),
    "has8_resnet_b2_m1_d1_with_underscore_bpd": ("UnknownComponentError", "unknown encoder 'with'"),
}


@pytest.mark.slow
def test_every_other_model_works_and_the_broken_ones_say_why(
    crowd: Path, environment: dict[str, str], run_python: RunPython
) -> None:
    done = run_python(USE, crowd, environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # what zoo-prints said is not on stdout
    assert "{hello from the import" in done.stderr
    assert found["info"] > 0
    assert {name: why for name, why in found["works"].items() if why[0]} == {}
    assert found["fails"].keys() == FAILS.keys()
    for name, (kind, said) in FAILS.items():
        error, message = found["fails"][name]
        assert (error, said in message) == (kind, True), (name, error, message)
    assert found["weight"][0] == "TagError"
    assert "different bytes in has8-zoo and zoo-catalogs 1.0" in found["weight"][1]
    assert found["converter"][0] == "BrokenComponentError"


@pytest.mark.slow
def test_plugins_shows_every_state_with_its_reason(
    crowd: Path, environment: dict[str, str], run_python: RunPython
) -> None:
    done = run_python(["-m", "zoo", "plugins", "--json"], crowd, environment)
    assert done.returncode == 1, done.stderr
    rows = _json_lines(done.stdout)
    for (kind, name), (state, reason) in SAID.items():
        found = [row for row in rows if (row["kind"], row["name"]) == (kind, name)]
        assert {row["state"] for row in found} == {state}, (name, found)
        assert all(reason in (row["error"] or "") for row in found), (name, found)
    bad = {row["name"] for row in rows if row["state"] != "loaded"}
    assert bad == {name for (_, name), (state, _) in SAID.items() if state != "loaded"}


@pytest.mark.slow
def test_what_is_switched_off_is_no_problem_any_more(
    crowd: Path, environment: dict[str, str], run_python: RunPython
) -> None:
    """By distribution, in any spelling, by name, or by both; each solves a clash too."""
    by_distribution = [f"zoo-{name}" for name in ("raises", "exits", "needs", "gap", "odd", "newer", "base", "fambad")]
    by_name = ["with_underscore", "nothing", "malformed", "dated", "missing"]
    switches = [*by_distribution, *by_name, "Zoo_Two", "zoo.shadow:ste", "zoo-catalogs:other", "zoo-gone", "zoo-one:x"]
    off = environment | {"ZOO_DISABLE_PLUGINS": ", ".join(switches) + ",", "COLUMNS": "300"}
    done = run_python(["-m", "zoo", "plugins"], crowd, off)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "disabled" in done.stdout
    assert not {"broken", "incompatible", "conflict"} & set(done.stdout.split())
    for idle in ("zoo-gone", "zoo-one:x"):
        assert idle in done.stderr
    assert "Zoo_Two" not in done.stderr
    code = (
        f"import zoo; zoo.create_model('has8_resnet_b2_m1_d1_ste_same'); zoo.create_model({TAKEN!r}, pretrained=True)\n"
        "try: zoo.create_model('has8_resnet_b2_m1_d1_raises_bpd')\n"
        "except zoo.errors.BrokenComponentError as error: print(error)\n"
    )
    done = run_python(code, crowd, off)
    assert done.returncode == 0, done.stderr
    assert "switched off by the environment variable ZOO_DISABLE_PLUGINS" in done.stdout


@pytest.fixture(scope="module")
def interrupting(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin whose import raises KeyboardInterrupt."""
    files = {"zoo_interrupts.py": "raise KeyboardInterrupt"}
    points = {"zoo.encoders": {"interrupts": "zoo_interrupts:Thing"}}
    wheel = write_wheel(tmp_path_factory.mktemp("wheel"), "zoo-interrupts", files, points)
    return install([wheel], tmp_path_factory.mktemp("site"))


def test_an_interrupted_import_interrupts_and_harms_nobody_who_does_not_ask_for_it(
    interrupting: Path, run_python: RunPython
) -> None:
    """KeyboardInterrupt passes, since nobody can tell it from the user's Ctrl-C: a slow import must be stoppable."""
    code = (
        f"import traceback, zoo; zoo.list_models(); zoo.create_model({OTHER!r})\n"
        "for _ in range(2):\n"
        "    try: zoo.create_model('has8_resnet_b2_m1_d1_interrupts_bpd')\n"
        "    except KeyboardInterrupt: print(traceback.format_exc())\n"
    )
    done = run_python(code, interrupting)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("while importing encoder 'interrupts' of zoo-interrupts 1.0") == 2


@pytest.mark.slow
def test_what_interrupts_its_import_is_listed_and_can_be_switched_off(
    interrupting: Path, run_python: RunPython
) -> None:
    listed = run_python(["-m", "zoo", "list", "--components", "interrupts"], interrupting)
    assert listed.returncode == 0, listed.stderr
    off = run_python(["-m", "zoo", "plugins", "--json"], interrupting, {"ZOO_DISABLE_PLUGINS": "zoo-interrupts"})
    assert off.returncode == 0, off.stderr
    (row,) = (row for row in _json_lines(off.stdout) if row["name"] == "interrupts")
    assert row["state"] == "disabled"
