"""Plugins and catalogs, each broken in its own way, break nothing else; in processes of their own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from zoo_kit.installed import WORKS, put, run_python

import zoo
from zoo.catalog.files import catalog_path
from zoo.registry.components import GROUPS

MODULES = {
    "raises": ("raise RuntimeError('boom')", "encoder", "broken", "RuntimeError: boom"),
    "exits": ("import sys\nsys.exit('bye')", "neuron", "broken", "SystemExit: bye"),
    "ends": ("import os\nos._exit(7)", "neuron", "broken", "status 7"),
    "needs": ("import a_library_that_is_missing", "decoder", "broken", "a_library_that_is_missing"),
    "gap": ("", "backbone", "broken", "has no attribute 'Thing'"),
    "newer": (WORKS.replace("version = 1", "version = 2").format(power=1), "encoder", "broken", "api_version 2"),
    "ste": (WORKS.format(power=1), "encoder", "conflict", "claimed by has8-zoo"),
    "prints": ("print('hello from the import')\n" + WORKS.format(power=1), "encoder", "loaded", ""),
    "fambad": ("raise RuntimeError('no family')", "family", "broken", "RuntimeError: no family"),
    "convert": ("class Thing: api_version = 1", "converter", "broken", "zoo.contracts.Converter"),
}
"""Name → module, kind, and the state and the reason that `zoo plugins` shows."""

CATALOGS = {
    "malformed": ("broken", "does not follow the schema"),
    "dated": ("broken", "YAML"),
    "missing": ("broken", "registry.yaml"),
    "fine": ("loaded", ""),
    "other": ("broken", "other bytes"),
}
TAKEN = "ann_resnet_b8_m2_d4.cifar10"


def _catalogs() -> dict[str, str]:
    """Files of a package of catalogs; importing the packages raises."""
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
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them; one has no METADATA."""
    site = tmp_path_factory.mktemp("site")
    for name, (text, kind, _, _) in MODULES.items():
        put(site, f"zoo-{name}", f"[{GROUPS[kind]}]\n{name} = zoo_{name}:Thing\n", {f"zoo_{name}.py": text})
    points = "".join(f"{name} = zoo_catalogs.{name}\n" for name in CATALOGS)
    put(site, "zoo-catalogs", f"[zoo.catalogs]\n{points}", _catalogs())
    (site / "zoo_prints-1.0.dist-info" / "METADATA").unlink()
    return site


def test_the_catalog_is_listed_and_nothing_was_imported(crowd: Path) -> None:
    done = run_python(["-X", "importtime", "-m", "zoo", "list"], crowd)
    assert done.returncode == 0, done.stderr
    assert {*zoo.list_models(), "has8_vgg_b5_m1_d1_fourier_bpd"} <= set(done.stdout.splitlines())
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {name for name in imported if name.startswith("zoo_")} | {"torch"} & imported
    for name, (state, _) in CATALOGS.items():
        assert (f"zoo-catalogs 1.0 (zoo_catalogs.{name})" in done.stderr) == (state == "broken")


@pytest.mark.slow
def test_plugins_shows_every_state_with_its_reason(crowd: Path) -> None:
    done = run_python(["-m", "zoo", "plugins", "--json"], crowd)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    said = {(kind, name): (state, reason) for name, (_, kind, state, reason) in MODULES.items()}
    said |= {("catalog", name): each for name, each in CATALOGS.items()}
    rows = [row for row in rows if (row["name"], row["distribution"]) != ("ste", "has8-zoo")]
    for (kind, name), (state, reason) in said.items():
        found = [row for row in rows if (row["kind"], row["name"]) == (kind, name)]
        assert {row["state"] for row in found} == {state}, (name, found)
        assert all(reason in (row["error"] or "") for row in found), (name, found)


FATAL = {
    "crashes": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "status -11"),
    "hangs": ("import time\ntime.sleep(600)", "not done after 15 seconds"),
}


@pytest.mark.slow
def test_plugins_survives_what_ends_or_blocks_its_process(tmp_path: Path) -> None:
    for name, (text, _) in FATAL.items():
        put(tmp_path, f"zoo-{name}", f"[zoo.neurons]\n{name} = zoo_{name}:Thing\n", {f"zoo_{name}.py": text})
    done = run_python(["-m", "zoo", "plugins", "--json", "--timeout", "15"], tmp_path)
    assert done.returncode == 1, done.stderr
    rows = {(row["kind"], row["name"]): row for row in map(json.loads, done.stdout.splitlines())}
    for name, (_, reason) in FATAL.items():
        row = rows["neuron", name]
        assert (row["state"], reason in row["error"]) == ("broken", True), row
    assert rows["neuron", "plif"]["state"] == rows["decoder", "bpd"]["state"] == "loaded"


def test_closed_streams_are_no_traceback(tmp_path: Path) -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"exec {shlex.quote(sys.executable)} -m zoo list {closed}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert bool(done.stdout) == (closed == "2>&-")
    command = f"exec {shlex.quote(sys.executable)} -m zoo list nothing_like_it 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")  # what belongs to stderr is not printed elsewhere


USE = """
import zoo, torch
for name in ("has8_resnet_b2_m1_d1_has8-zoo:ste_bpd", "has8_resnet_b2_m1_d1_prints_bpd", "sew_resnet18_rate"):
    zoo.create_model(name, num_classes=2)(torch.rand(1, 3, 8, 8))
for part in ("raises_bpd", "fourier_bpd_exits", "newer_bpd"):
    try:
        zoo.create_model(f"has8_resnet_b2_m1_d1_{part}")
    except zoo.errors.ComponentError:
        continue
    raise SystemExit(f"{part} works")
"""


@pytest.mark.slow
def test_every_other_model_works_and_the_broken_ones_say_why(crowd: Path) -> None:
    done = run_python(USE, crowd)
    assert done.returncode == 0, done.stderr
