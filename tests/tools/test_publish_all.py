"""`python -m tools.publish_all`: every weight at a commit of its own, which the zoo's registry.yaml names."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner
from zoo_kit.loopback import LoopbackHub

import zoo
from tools.publish_all import list_weights, main
from zoo.catalog.files import read_catalog

ROOT = Path(__file__).parents[2]
OWN = "ann_resnet_b8_m2_d4.cifar10"
OF_PLUGIN = "ann_resnetsmall_b16_m2_d4.cifar10"
APP = typer.Typer()
APP.command()(main)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The catalogs of the repository, to be written to, and links to the bytes of their weights."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(ROOT / "registry.yaml", folder)
    for listed in ROOT.glob("plugins/*/*/registry.yaml"):
        package = folder / listed.parent.relative_to(ROOT)
        package.mkdir(parents=True)
        shutil.copy(listed, package)
        for weights in listed.parent.glob("*.safetensors"):
            (package / weights.name).symlink_to(weights)
    return folder


def publish(copy: Path, token: str, *arguments: str, org: str = "alice") -> list[dict[str, str]]:
    """Call the command in this process: one of its own takes two seconds to load torch."""
    command = [org, *arguments, "--root", str(copy), "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])  # which the command extends
        done = CliRunner().invoke(APP, command, env={"HF_TOKEN": token}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def texts(copy: Path) -> dict[Path, str]:
    return {file: file.read_text(encoding="utf-8") for file in copy.rglob("registry.yaml")}


def test_a_weight_of_a_plugin_loads_by_the_zoos_own_catalog(hub: LoopbackHub, token: str, copy: Path) -> None:
    before = texts(copy)
    assert [row["state"] for row in publish(copy, token, OWN, OF_PLUGIN, "--dry-run")] == ["checked"] * 2
    assert (hub.repositories, texts(copy)) == ({}, before)
    rows = publish(copy, token, OWN, OF_PLUGIN)
    assert [row["state"] for row in rows] == ["published"] * 2
    assert [row["load"] for row in rows] == [f"hf-hub:{name}@{hub.commits(name)[-1].oid}" for name in hub.repositories]
    after = texts(copy)
    hub.requests.clear()
    assert [row["state"] for row in publish(copy, token, OWN, OF_PLUGIN)] == ["unchanged"] * 2
    assert {request.method for request in hub.requests} == {"GET"}  # what is there is not sent again
    assert texts(copy) == after
    for file, text in after.items():
        lines = set(text.splitlines()) - {f"    published: {row['load']}" for row in rows}
        assert lines >= set(before[file].splitlines())
    catalog = read_catalog(copy / "registry.yaml")
    model = zoo.create_model(OF_PLUGIN, catalog=catalog)
    assert model.pretrained_cfg["source"] == rows[1]["load"]
    card = hub.files(f"alice/{OWN}")["README.md"].decode()
    assert f"hf-hub:alice/{OWN}" in card


def test_a_start_comes_before_what_was_trained_from_it() -> None:
    starts = {record.name: record.started_from for _, record in list_weights(ROOT)}
    names = list(starts)
    later = [name for name, start in starts.items() if start in starts]
    assert later
    assert [name for name in later if names.index(starts[name]) > names.index(name)] == []


def test_what_is_sent_and_not_noted_is_not_sent_again(hub: LoopbackHub, token: str, copy: Path) -> None:
    start = "ann_resnet_b32_m2_d4.cifar10"
    plugin = copy / "plugins/zoo-weights-cifar10/zoo_weights_cifar10/registry.yaml"
    (later,) = (record for record in _weights(plugin.read_text("utf-8")) if record["tag"] == "cifar10long")
    assert later["started_from"] == start
    name = f"{later['variant']}.{later['tag']}"
    before = texts(copy)
    assert [row["name"] for row in publish(copy, token, name, start)] == [start, name]
    assert f"base_model: alice/{start}" in hub.files(f"alice/{name}")["README.md"].decode()
    after = texts(copy)
    # As if it had been killed between the commit and its note.
    noted = plugin.read_text("utf-8").splitlines(keepends=True)
    plugin.write_text("".join(line for line in noted if f"alice/{name}@" not in line), "utf-8")
    (copy / "registry.yaml").write_text(before[copy / "registry.yaml"], "utf-8")
    rows = publish(copy, token, name, start)
    assert [row["state"] for row in rows] == ["unchanged", "unchanged"]
    assert [commit.title for commit in hub.commits(f"alice/{name}")] == ["initial commit", name]
    assert texts(copy) == after


def _weights(text: str) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = yaml.safe_load(text)["weights"]
    return listed
