"""Published by the command, loaded in a fresh process with a fresh cache: the same numbers to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.data import resolve_data_config
from timm.models import load_model_config_from_hf
from timm.models._hub import load_model_config_from_path
from typer.testing import CliRunner

import zoo
from tests.hub.hub_weights import files_below
from tests.hub.loopback import LoopbackHub
from zoo.catalog.catalog import catalog_path, default_catalog, read_file
from zoo.cli import app
from zoo.weights import adapt_channels

NAME = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
REPO = "alice/b8"
FIXED = "torch.linspace(0, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)"


@dataclass(frozen=True)
class Published:
    """The bundled model as the command published it, and the folder that it wrote of the same."""

    hub: LoopbackHub
    folder: Path
    catalog: Path
    printed: dict[str, Any]
    environment: dict[str, str]

    def run(self, *command: str, home: Path, **more: str) -> str:
        """What a fresh Python prints, with `home` as its cache and this Hub as its Hub."""
        environment = self.environment | {"HF_HOME": str(home)} | more
        process = subprocess.run(
            [sys.executable, *command], check=False, capture_output=True, text=True, timeout=120, env=environment
        )
        assert process.returncode == 0, process.stderr
        assert not any(token in process.stdout + process.stderr for token in self.hub.tokens)
        return process.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Published once, for all tests here."""
    place = tmp_path_factory.mktemp("published")
    hub = LoopbackHub()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()
    }
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    made = Published(hub, place / "folder", place / "registry.yaml", {}, kept | settings | {"NO_PROXY": "127.0.0.1"})
    lines = [line for line in catalog_path().read_text(encoding="utf-8").splitlines() if "published: " not in line]
    made.catalog.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ("-m", "zoo", "publish", NAME, "--catalog", str(made.catalog), "--json")
    token = hub.add_token("alice", "write")
    made.printed.update(json.loads(made.run(*arguments, "--repo-id", REPO, home=place / "home", HF_TOKEN=token)))
    yield made
    hub.stop()


@pytest.fixture(scope="module")
def folder(published: Published) -> Path:
    """The same files in a local folder."""
    for path, data in published.hub.files(REPO).items():
        (published.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (published.folder / path).write_bytes(data)
    return published.folder


def test_the_command_says_what_it_did_and_writes_the_pin(published: Published) -> None:
    row, record = published.printed, default_catalog().weights[NAME.partition(".")[0]][0]
    pin = f"hf-hub:{REPO}@{published.hub.commits(REPO)[-1].oid}"
    assert (row["name"], row["state"], row["load"]) == (NAME, "published", pin)
    assert (row["sha256"], row["url"]) == (record.sha256, f"{published.hub.endpoint}/{REPO}")
    assert row["files"] == {
        path: len(data) for path, data in published.hub.files(REPO).items() if path != ".gitattributes"
    }
    [pinned] = [each for each in read_file(published.catalog).weights if each.name == NAME]
    assert pinned.published == pin
    assert published.catalog.read_text(encoding="utf-8").count(pin) == 1


def test_the_logits_are_the_same_to_the_last_bit(published: Published, folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys, torch, zoo
torch.set_num_threads(1)
for reference in sys.argv[1:]:
    with torch.no_grad():
        print(zoo.create_model(reference).eval()({FIXED}).numpy().tobytes().hex())
"""
    before = len(published.hub.downloads)
    printed = published.run("-c", code, published.printed["load"], f"local-dir:{folder}", home=tmp_path)
    model = zoo.create_model(NAME, pretrained=True).eval()
    with torch.no_grad():
        expected = model(eval(FIXED)).numpy().tobytes().hex()
    assert printed.split() == [expected, expected]
    assert published.hub.downloads[before:] == [f"{REPO}/config.json", f"{REPO}/model.safetensors"]
    requests = len(published.hub.requests)
    again = published.run("-c", code, published.printed["load"], home=tmp_path, HF_HUB_OFFLINE="1")
    assert again.split() == [expected]
    assert len(published.hub.requests) == requests


def snippet(card: bytes) -> str:
    [code] = re.findall(r"```python\n(.*?)```", card.decode(), re.DOTALL)
    return code


def test_the_cards_snippet_runs_as_written(published: Published, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(snippet(published.hub.files(REPO)["README.md"]), encoding="utf-8")
    printed = published.run(str(tmp_path / "snippet.py"), home=tmp_path / "home")
    assert printed.strip() in default_catalog().weights[NAME.partition(".")[0]][0].labels


def test_a_folder_that_the_command_wrote_and_its_snippet(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    order = ["publish", NAME, "--to-dir", "a folder", "--catalog", str(published.catalog)]
    result = CliRunner().invoke(app, order)
    assert result.exit_code == 0, result.output
    sent, written = published.hub.files(REPO), files_below(Path("a folder"))
    assert {path for path in sent if written.get(path) != sent[path]} == {".gitattributes", "README.md"}
    capsys.readouterr()
    exec(snippet(written["README.md"]), {})
    assert capsys.readouterr().out.strip() in default_catalog().weights[NAME.partition(".")[0]][0].labels


def test_other_classes_and_channels_spare_exactly_the_head_and_the_stem(folder: Path) -> None:
    whole = zoo.create_model(f"local-dir:{folder}").state_dict()
    tuned = zoo.create_model(f"local-dir:{folder}", num_classes=5, in_chans=1)
    state = tuned.state_dict()
    stem = {f"{name}.weight" for name in tuned.first_conv_names}
    head = {f"{name}.{part}" for name in tuned.classifier_names for part in ("weight", "bias")} & state.keys()
    assert state.keys() == whole.keys()
    assert {key for key in whole if not torch.equal(state[key], whole[key])} == stem | head
    assert all(torch.equal(state[key], adapt_channels(whole[key], 1)) for key in stem)
    assert all(len(state[key]) == 5 for key in head)


def check_what_timm_reads(cfg: dict[str, Any], architecture: str) -> None:
    labels = list(default_catalog().weights[NAME.partition(".")[0]][0].labels)
    assert f"{architecture}.{cfg['tag']}" == NAME
    assert (cfg["num_classes"], cfg["label_names"]) == (10, labels)
    data = resolve_data_config(pretrained_cfg=cfg)
    assert (data["input_size"], data["interpolation"]) == ((3, 32, 32), "bicubic")
    assert (data["crop_pct"], data["crop_mode"]) == (1.0, "center")
    assert (list(data["mean"]), list(data["std"])) == ([0.0] * 3, [1.0] * 3)


def test_timm_reads_the_config_of_the_hub_as_far_as_its_format_goes(hub: LoopbackHub, published: Published) -> None:
    files = {path: data for path, data in published.hub.files(REPO).items() if path != ".gitattributes"}
    revision = hub.put(REPO, files)
    cfg, architecture, arguments = load_model_config_from_hf(f"{REPO}@{revision}")
    check_what_timm_reads(cfg, architecture)
    assert (cfg["hf_hub_id"], cfg["source"], arguments) == (f"{REPO}@{revision}", "hf-hub", {"in_chans": 3})


def test_timm_reads_the_config_of_a_folder_likewise(folder: Path) -> None:
    cfg, architecture, _ = load_model_config_from_path(folder)
    check_what_timm_reads(cfg, architecture)


def test_publishing_what_was_loaded_from_there_changes_nothing(
    hub: LoopbackHub, published: Published, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = published.hub.commits(REPO)
    catalog = tmp_path / "registry.yaml"
    shutil.copyfile(published.catalog, catalog)
    monkeypatch.setenv("HF_TOKEN", next(iter(published.hub.tokens)))
    place = ["--repo-id", REPO, "--endpoint", published.hub.endpoint, "--catalog", str(catalog), "--json"]
    result = CliRunner().invoke(app, ["publish", f"local-dir:{folder}", *place])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert (printed["state"], printed["load"]) == ("unchanged", published.printed["load"])
    assert published.hub.commits(REPO) == before
    assert catalog.read_bytes() == published.catalog.read_bytes()
    assert hub.requests == []  # the one of HF_ENDPOINT
